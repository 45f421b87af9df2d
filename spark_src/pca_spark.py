"""PCA's work that Spark shares out: sums straight from Parquet row groups, and projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession

from spark_src.aws import explained
from spark_src.locations import Location
from spark_src.pca import FIT_SPLIT, PcaModel, Sums, fit_sums, one_model
from spark_src.schemas import PCA_COMPONENTS
from spark_src.session import VECTORS_PER_BATCH, in_files_of_sensible_size
from spark_src.storage import Version
from spark_src.vectors import FEATURES, count_malformed, float_lists, malformed_error, matrix_of

RowGroup = tuple[Location, int]


def fit_version(
    spark: SparkSession, features: Version, n_components: int, min_explained_variance: float
) -> PcaModel:
    """Fit PCA on the training split of a stored version of `mobilenet_features`.

    Workers read the files themselves: through a DataFrame, half the time would be Spark's JVM
    handing 1,280 floats a row to Python one by one.

    Raises:
        PcaError: too few images, features that do not vary or are not finite, several models.
    """
    model = one_model(features.facts["models"])
    split = FIT_SPLIT if FIT_SPLIT in features.facts["splits"] else None
    with explained(f"reading {features.location} to fit PCA"):
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
    malformed = 0
    for part, malformed_there in tasks.mapPartitions(_summer(split)).collect():
        sums += part
        malformed += malformed_there
    if malformed:
        raise malformed_error(malformed)
    return sums


def transform(features: DataFrame, pca: PcaModel, rows: int) -> DataFrame:
    """Project every split, the mean subtracted.

    Returns:
        A table with the columns of `pca_components`, not yet computed.
    """
    wanted = features.select("image_id", "path", "split", "label", "features")
    shared = features.sparkSession.sparkContext.broadcast(pca)
    components = wanted.mapInArrow(_projector(shared), PCA_COMPONENTS)
    return in_files_of_sensible_size(components, rows, pca.n_components * 4)


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
                VECTORS_PER_BATCH,
                row_groups=[number],
                columns=["split", "features"],
                use_threads=False,  # every core has a task already
            )
            for batch in batches:
                yield _of_split(batch, split).column("features")


def _of_split(batch: pa.RecordBatch, split: str | None) -> pa.RecordBatch:
    if split is None:
        return batch
    wanted = pc.equal(batch["split"], split)
    whole = pc.all(wanted, skip_nulls=False).as_py()  # null where an image has no split
    return batch if whole else batch.filter(wanted)


def _projector(
    pca: Broadcast[PcaModel],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def project_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            components = pca.value.project(matrix_of(batch.column("features")))
            columns = {name: batch.column(name) for name in ("image_id", "path", "split", "label")}
            yield pa.RecordBatch.from_pydict(columns | {"pca": float_lists(components)})

    return project_batches
