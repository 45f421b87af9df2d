"""PCA's sums straight from Parquet files: Spark shares out row groups, workers read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from spark_src.featurize import FEATURES
from spark_src.locations import Location
from spark_src.pca import (
    FIT_SPLIT,
    PcaModel,
    Sums,
    count_malformed,
    fit_sums,
    malformed_error,
    matrix_of,
    one_model,
)
from spark_src.session import VECTORS_PER_BATCH
from spark_src.storage import Version

RowGroup = tuple[Location, int]


def fit_version(
    spark: SparkSession, features: Version, n_components: int, min_explained_variance: float
) -> PcaModel:
    """Fit PCA on a stored version of `mobilenet_features`; the same model as `pca.fit` gives.

    Half the time of `pca.fit` is Spark's JVM handing 1,280 floats a row to Python one by one.

    Raises:
        PcaError: see `pca.fit`.
    """
    model = one_model(features.facts["models"])
    split = FIT_SPLIT if FIT_SPLIT in features.facts["splits"] else None
    sums = sums_of_files(spark, features.location, split)
    return fit_sums(sums, n_components, model, min_explained_variance)


def sums_of_files(spark: SparkSession, folder: Location, split: str | None) -> Sums:
    """Sum up the features of one split (of all where it is None) in a folder of Parquet files.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    groups = list(_row_groups(folder))
    shares = max(1, min(len(groups), spark.sparkContext.defaultParallelism))
    tasks = spark.sparkContext.parallelize(groups, shares)
    sums = Sums(0, np.zeros(FEATURES), np.zeros((FEATURES, FEATURES)))
    for part, malformed in tasks.mapPartitions(_summer(split)).collect():
        if malformed:
            raise malformed_error(malformed)
        sums += part
    return sums


def _row_groups(folder: Location) -> Iterator[RowGroup]:
    for file in folder.files():
        if not file.base_name.startswith("part-"):
            continue
        metadata = pq.read_metadata(file.path, filesystem=folder.filesystem)
        for number in range(metadata.num_row_groups):
            yield Location(folder.scheme, file.path), number


def _summer(
    split: str | None,
) -> Callable[[Iterable[RowGroup]], Iterator[tuple[Sums, int]]]:
    def sum_groups(groups: Iterable[RowGroup]) -> Iterator[tuple[Sums, int]]:
        images, malformed = 0, 0
        total, gram = np.zeros(FEATURES), np.zeros((FEATURES, FEATURES))
        for column in _columns(groups, split):
            malformed += count_malformed(column)
            if malformed:
                continue
            features = matrix_of(column).astype(np.float64)
            images += len(features)
            total += features.sum(axis=0)
            gram += features.T @ features
        yield Sums(images, total, gram), malformed

    return sum_groups


def _columns(groups: Iterable[RowGroup], split: str | None) -> Iterator[pa.Array]:
    for location, number in groups:
        with location.filesystem.open_input_file(location.path) as stream:
            batches = pq.ParquetFile(stream).iter_batches(
                VECTORS_PER_BATCH, row_groups=[number], columns=["split", "features"]
            )
            for batch in batches:
                rows = batch if split is None else batch.filter(pc.equal(batch["split"], split))
                yield rows.column("features")
