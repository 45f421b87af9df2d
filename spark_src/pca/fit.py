"""PCA's work that Spark shares out: sums of the stored features, and projection, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.feature_parts import KEY
from spark_src.features.incremental import INDEX, index_of
from spark_src.io.aws import explained
from spark_src.io.locations import Location
from spark_src.pca.model import FIT_SPLIT, PcaModel, Sums, fit_sums, one_model
from spark_src.storage import Version
from spark_src.tables.vector_files import (
    VECTORS_PER_BLOCK,
    Block,
    blocks_of,
    in_tasks,
    rows_of_blocks,
    write_vectors,
)
from spark_src.tables.vectors import (
    FEATURES,
    count_malformed,
    float_lists,
    malformed_error,
    matrix_of,
)

BLOCKS_PER_FILE = 32
"""13 MB of 50 components; the number of cores has no say in it."""

_KEYS = ("image_id", "path", "split", "label")

PCA_TABLE = pa.schema([*((name, pa.string()) for name in _KEYS), ("pca", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class Fit:
    """A model, and what it takes to update it for images that came or went."""

    model: PcaModel
    sums: Sums
    features: str
    """The version of `mobilenet_features` that it was fitted on."""
    how: str
    """Whether all was summed up, or what came and went, in words."""


@dataclass(frozen=True)
class Earlier:
    """An earlier fit's sums, with the features they are of."""

    sums: Sums
    features: Version


def fit_version(
    spark: SparkSession,
    features: Version,
    n_components: int,
    min_explained_variance: float,
    earlier: Earlier | None = None,
) -> Fit:
    """Fit PCA on the training split of a stored version of `mobilenet_features`.

    Where an earlier fit is given, only the images that came and went since are read, unless they
    are the greater part; the sums are the same to 1e-9 either way.

    Raises:
        PcaError: too few images, features that do not vary or are not finite, several models.
    """
    model, split = one_model(features.facts["models"]), fit_split(features)
    change = _change(earlier, features, split)
    folder = features.location
    if earlier is None or change is None:
        with explained(f"reading {folder} to fit PCA"):
            sums, how = sums_of_files(spark, folder, split), "all images were summed up"
    else:
        came, went = change
        with explained(f"reading {folder} to update PCA"):
            came_and_went = (sums_of_rows(spark, folder, rows) for rows in (came, went))
            sums = earlier.sums + next(came_and_went) - next(came_and_went)
        how = f"updated for {len(came):,} images that came and {len(went):,} that went"
    pca = fit_sums(sums, n_components, model, min_explained_variance)
    return Fit(pca, sums, features.name, how)


def fit_split(features: Version) -> str | None:
    """The split that PCA is fitted on; None: all of them."""
    return FIT_SPLIT if FIT_SPLIT in features.facts["splits"] else None


def sums_of_files(spark: SparkSession, folder: Location, split: str | None) -> Sums:
    """Sum up the features of one split (of all where it is None) in a folder of Parquet files.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    total, malformed = Sums.zero(), 0
    for part, malformed_there in in_tasks(spark, blocks_of(folder), _summer(split)):
        total += part
        malformed += malformed_there
    if malformed:
        raise malformed_error(malformed)
    return total


def sums_of_rows(spark: SparkSession, folder: Location, rows: pd.DataFrame) -> Sums:
    """Sum up the features of some rows, given by `file` and `row` as `index_of` does.

    Args:
        spark: shares out the files.
        folder: one in the same file system.
        rows: which ones.
    """
    tasks = [
        (Location(folder.scheme, file), places["row"].to_numpy(np.int64))
        for file, places in rows.groupby("file")
    ]
    return sum(in_tasks(spark, tasks, _row_sums), Sums.zero())


def project_files(spark: SparkSession, features: Version, pca: PcaModel, folder: Location) -> None:
    """Write every image's components, the mean subtracted: a table with `pca_components`' columns.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    blocks = blocks_of(features.location)
    files = [
        (folder / f"part-{start // BLOCKS_PER_FILE:05}.parquet", blocks[start:][:BLOCKS_PER_FILE])
        for start in range(0, max(len(blocks), 1), BLOCKS_PER_FILE)
    ]
    in_tasks(spark, files, _projector(pca), tasks=len(files))


def _change(
    earlier: Earlier | None, features: Version, split: str | None
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The rows that came and went; None where an update is not possible or not worth it."""
    if earlier is None or fit_split(earlier.features) != split:
        return None
    if earlier.features.facts["models"] != features.facts["models"]:
        return None
    before, now = (_fitted_rows(version, split) for version in (earlier.features, features))
    if before is None or now is None or len(before) != earlier.sums.images:
        return None
    both = before.merge(now, on=["path", *KEY], how="outer", suffixes=("", "_now"), indicator=True)
    went = both[both["_merge"] == "left_only"]
    came = both[both["_merge"] == "right_only"]
    if len(came) + len(went) > len(now) / 2:
        return None
    return came.assign(file=came["file_now"], row=came["row_now"]), went


def _fitted_rows(version: Version, split: str | None) -> pd.DataFrame | None:
    if not (version.location / INDEX).exists():
        return None
    rows = index_of(version)
    return rows if split is None else rows[rows["split"] == split]


def _row_sums(tasks: Iterable[tuple[Location, NDArray[np.int64]]]) -> Iterator[Sums]:
    for file, rows in tasks:
        for _, features in rows_of_blocks(file, rows):
            yield Sums.of(features)


def _summer(
    split: str | None,
) -> Callable[[Iterable[Block]], Iterator[tuple[Sums, int]]]:
    def sum_blocks(blocks: Iterable[Block]) -> Iterator[tuple[Sums, int]]:
        total, malformed = Sums.zero(), 0
        for block in blocks:
            for batch in block.read(["split", "features"]):
                column = _of_split(batch, split).column("features")
                malformed += count_malformed(column)
                if not malformed:
                    total += Sums.of(matrix_of(column))
        yield total, malformed

    return sum_blocks


def _of_split(batch: pa.RecordBatch, split: str | None) -> pa.RecordBatch:
    if split is None:
        return batch
    wanted = pc.equal(batch["split"], split)
    whole = pc.all(wanted, skip_nulls=False).as_py()  # null where an image has no split
    return batch if whole else batch.filter(wanted)


def _projector(
    pca: PcaModel,
) -> Callable[[Iterable[tuple[Location, Sequence[Block]]]], Iterator[None]]:
    def project(files: Iterable[tuple[Location, Sequence[Block]]]) -> Iterator[None]:
        for file, blocks in files:
            batches = (batch for block in blocks for batch in block.read([*_KEYS, "features"]))
            write_vectors((_projected(batch, pca) for batch in batches), file, PCA_TABLE)
            yield None

    return project


def _projected(batch: pa.RecordBatch, pca: PcaModel) -> pa.Table:
    features = matrix_of(batch.column("features"))
    # A product of always the same shape: its last bit may depend on that.
    whole = np.zeros((VECTORS_PER_BLOCK, FEATURES), np.float32)
    whole[: len(features)] = features
    components = pca.project(whole)[: len(features)]
    columns = [*(batch.column(name) for name in _KEYS), float_lists(components)]
    return pa.Table.from_arrays(columns, schema=PCA_TABLE)
