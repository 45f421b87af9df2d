"""Exact sums of the stored features, kept up to date by the files that came and went. With Spark.

A file of features never changes, so what was added for it can be taken away to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.pca.files import StoredSums
from spark_src.pca.model import FIT_SPLIT, Sums
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import ROWS_PER_BLOCK, open_parquet, read_columns, run_tasks
from spark_src.tables.statistics import FeaturesStatistics
from spark_src.tables.vectors import count_malformed, malformed_error, matrix_of

MAX_TASKS = 16
"""Each gives the driver a Gram matrix of 13 MB."""

_KEYS = ["path", "image_id", "orientation", "split"]


@dataclass(frozen=True)
class SumsUpdate:
    """Sums of today's images, and what came since the earlier ones."""

    stored: StoredSums
    new_images: pa.Table
    """Rows of the fitted split that are new: file (in `features.files`), row."""
    n_gone: int
    """How many images of the fitted split went."""
    description: str


def fit_split(features: Snapshot) -> str | None:
    """The split that PCA is fitted on; None: all of them."""
    return FIT_SPLIT if FIT_SPLIT in features.typed(FeaturesStatistics).splits else None


def update_sums(
    spark: Callable[[], SparkSession], features: Snapshot, earlier: StoredSums | None
) -> SumsUpdate:
    """Sums of the fitted split of a version of `mobilenet_features`.

    Only files that came and went since the earlier sums are read, unless they are the greater
    part or one that went is not there any more; the sums are the same to 1e-9 either way.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    split = fit_split(features)
    names = {file.name for file in features.files}
    if earlier is None or earlier.split != split:
        return _from_scratch(spark, features, split, "all images were summed up")
    came, went = names - earlier.files, earlier.files - names
    if not came and not went:
        nothing = _no_images()
        return SumsUpdate(earlier, nothing, 0, "no image came or went")
    if len(came) + len(went) > len(names) / 2 and len(names) > 4:
        return _from_scratch(spark, features, split, "all images were summed up")
    try:
        new, gone = _difference(features, sorted(came), sorted(went), split)
        sums = earlier.sums
        sums = sums + sum_files(spark, _locations(features, came), split)
        sums = sums - sum_files(spark, _locations(features, went), split)
    except UnreadableVersionError:
        return _from_scratch(spark, features, split, "all images were summed up anew")
    text = f"updated for {new.num_rows:,} images that came and {gone:,} that went"
    return SumsUpdate(StoredSums(sums, frozenset(names), split), new, gone, text)


def sum_files(
    spark: Callable[[], SparkSession], files: Sequence[Location], split: str | None
) -> Sums:
    """Sum up the features of one split (of all where it is None) in files.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    total, malformed = Sums.zero(), 0
    if not files:
        return total
    for part, malformed_there in run_tasks(spark(), files, _summer(split), MAX_TASKS):
        total += part
        malformed += malformed_there
    if malformed:
        raise malformed_error(malformed)
    return total


def _from_scratch(
    spark: Callable[[], SparkSession], features: Snapshot, split: str | None, text: str
) -> SumsUpdate:
    sums = sum_files(spark, features.locations, split)
    names = frozenset(file.name for file in features.files)
    return SumsUpdate(StoredSums(sums, names, split), _no_images(), 0, text)


def _difference(
    features: Snapshot, came: list[str], went: list[str], split: str | None
) -> tuple[pa.Table, int]:
    """Images that are in the files that came alone, and how many are in those that went alone."""
    order = {file.name: number for number, file in enumerate(features.files)}
    new, old = (
        _of_split(read_columns(_locations(features, names), _KEYS), split)
        if names
        else _no_images(_KEYS)
        for names in (came, went)
    )
    keys = ["path", "image_id", "orientation"]
    arrived = new.join(old.select(keys), keys=keys, join_type="left anti")
    gone = old.join(new.select(keys), keys=keys, join_type="left anti").num_rows
    numbers = pa.array([order[name] for name in came], pa.int32())
    files = pc.take(numbers, arrived["file"])
    rows = pa.table({"file": files, "row": arrived["row"]})
    return rows.sort_by([("file", "ascending"), ("row", "ascending")]), gone


def _no_images(columns: Sequence[str] = ()) -> pa.Table:
    kinds = {"orientation": pa.int32()}
    fields = [(name, kinds.get(name, pa.string())) for name in columns]
    return pa.schema([*fields, ("file", pa.int32()), ("row", pa.int32())]).empty_table()


def _locations(features: Snapshot, names: Iterable[str]) -> list[Location]:
    return [features.location / name for name in sorted(names)]


def _of_split(rows: pa.Table, split: str | None) -> pa.Table:
    return rows if split is None else rows.filter(pc.equal(rows["split"], split))


def _summer(split: str | None) -> Callable[[Iterable[Location]], Iterator[tuple[Sums, int]]]:
    def sum_up(files: Iterable[Location]) -> Iterator[tuple[Sums, int]]:
        total, malformed = Sums.zero(), 0
        for file in files:
            with open_parquet(file) as parquet:
                batches = parquet.iter_batches(
                    ROWS_PER_BLOCK, columns=["split", "features"], use_threads=False
                )
                for batch in batches:
                    table = _of_split(pa.Table.from_batches([batch]), split)
                    column = table["features"].combine_chunks()
                    malformed += count_malformed(column)
                    if not malformed:
                        total += Sums.from_features(matrix_of(column))
        yield total, malformed

    return sum_up
