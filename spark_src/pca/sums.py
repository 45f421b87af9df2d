"""Exact sums of the stored features, updated for added and removed files. With Spark.

A feature file never changes, so its contribution can be subtracted exactly.
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
from spark_src.tables.vectors import count_malformed, malformed_error, to_matrix

MAX_TASKS = 16
"""Each task returns a Gram matrix of 13 MB to the driver."""

_IDENTITY = ["path", "image_id", "orientation"]
_KEYS = [*_IDENTITY, "split"]


@dataclass(frozen=True)
class SumsUpdate:
    """Sums of the current images, and the images added since the earlier sums."""

    stored: StoredSums
    new_images: pa.Table | None
    """New rows of the fitted split: file (index in `features.files`), row. None if unknown."""
    n_removed: int | None
    """How many images of the fitted split were removed; None if unknown."""
    description: str


def fit_split(features: Snapshot) -> str | None:
    """The split that PCA is fitted on; None: all of them."""
    return FIT_SPLIT if FIT_SPLIT in features.typed(FeaturesStatistics).splits else None


def update_sums(
    spark: Callable[[], SparkSession],
    features: Snapshot,
    earlier: StoredSums | None,
    recompute: bool = False,
) -> SumsUpdate:
    """Compute the sums of the fitted split of a version of `mobilenet_features`.

    Only files added or removed since the earlier sums are read, unless they are the majority or a
    removed file no longer exists. The sums are the same either way.

    Args:
        spark: starts Spark.
        features: the version.
        earlier: sums of an earlier version, of the same model.
        recompute: whether to ignore the earlier sums.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    split = fit_split(features)
    names = {file.name for file in features.files}
    if earlier is None or earlier.split != split:
        sums = sum_files(spark, features.locations, split)
        stored = StoredSums(sums, frozenset(names), split)
        return SumsUpdate(stored, None, None, "all images were summed up")
    added, removed = names - earlier.files, earlier.files - names
    new, n_removed = _difference(features, sorted(added), sorted(removed), split)
    majority = len(added) + len(removed) > len(names) / 2 and len(names) > 4
    updated = None if recompute or majority else _updated(spark, features, earlier, added, removed)
    text = _describe(new, n_removed) if updated else "all images were summed up"
    sums = updated or sum_files(spark, features.locations, split)
    return SumsUpdate(StoredSums(sums, frozenset(names), split), new, n_removed, text)


def sum_files(
    spark: Callable[[], SparkSession], files: Sequence[Location], split: str | None
) -> Sums:
    """Sum the features of one split, or of all images if None.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
        UnreadableVersionError: a file is missing or damaged.
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


def _updated(
    spark: Callable[[], SparkSession],
    features: Snapshot,
    earlier: StoredSums,
    added: Iterable[str],
    removed: Iterable[str],
) -> Sums | None:
    """The earlier sums without the removed and with the added files.

    Returns:
        None if a removed file can no longer be read.
    """
    try:
        lost = sum_files(spark, _locations(features, removed), earlier.split)
    except UnreadableVersionError:
        return None
    return earlier.sums - lost + sum_files(spark, _locations(features, added), earlier.split)


def _describe(new: pa.Table | None, n_removed: int | None) -> str:
    if new is None or n_removed is None:
        return "updated for added and removed images"
    if not new.num_rows and not n_removed:
        return "no image was added or removed"
    return f"updated for {new.num_rows:,} added and {n_removed:,} removed images"


def _difference(
    features: Snapshot, added: list[str], removed: list[str], split: str | None
) -> tuple[pa.Table | None, int | None]:
    """Images that exist only in added files, and how many exist only in removed files."""
    new = _read_keys(features, added, split)
    try:
        old = _read_keys(features, removed, split)
    except UnreadableVersionError:
        return None, None
    arrived = new.join(old.select(_IDENTITY), keys=_IDENTITY, join_type="left anti")
    n_removed = old.join(new.select(_IDENTITY), keys=_IDENTITY, join_type="left anti").num_rows
    order = {file.name: number for number, file in enumerate(features.files)}
    numbers = pa.array([order[name] for name in added], pa.int32())
    rows = pa.table({"file": pc.take(numbers, arrived["file"]), "row": arrived["row"]})
    return rows.sort_by([("file", "ascending"), ("row", "ascending")]), n_removed


def _read_keys(features: Snapshot, names: list[str], split: str | None) -> pa.Table:
    """Keys of the images of the split in these files, with `file` (index in `names`) and `row`."""
    if not names:
        kinds = {"orientation": pa.int32()}
        fields = [(name, kinds.get(name, pa.string())) for name in _KEYS]
        return pa.schema([*fields, ("file", pa.int32()), ("row", pa.int32())]).empty_table()
    return _filter_split(read_columns(_locations(features, names), _KEYS), split)


def _locations(features: Snapshot, names: Iterable[str]) -> list[Location]:
    return [features.location / name for name in sorted(names)]


def _filter_split(rows: pa.Table, split: str | None) -> pa.Table:
    return rows if split is None else rows.filter(pc.equal(rows["split"], split))


def _summer(split: str | None) -> Callable[[Iterable[Location]], Iterator[tuple[Sums, int]]]:
    def sum_up(files: Iterable[Location]) -> Iterator[tuple[Sums, int]]:
        total, malformed = Sums.zero(), 0
        for file in files:
            for column in _blocks(file, split):
                wrong = count_malformed(column)
                malformed += wrong
                if not wrong:
                    total += Sums.from_features(to_matrix(column))
        yield total, malformed

    return sum_up


def _blocks(file: Location, split: str | None) -> Iterator[pa.Array]:
    """Yield the feature lists of the split in blocks, verified. The blocks are always the same."""
    columns = ["split", "features"]
    with open_parquet(file, verify=True) as parquet:
        for batch in parquet.iter_batches(ROWS_PER_BLOCK, columns=columns, use_threads=False):
            rows = _filter_split(pa.Table.from_batches([batch]), split)
            yield rows["features"].combine_chunks()
