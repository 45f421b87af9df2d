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
from spark_src.tables.vectors import count_malformed, malformed_error, to_matrix

MAX_TASKS = 16
"""Each gives the driver a Gram matrix of 13 MB."""

_IDENTITY = ["path", "image_id", "orientation"]
_KEYS = [*_IDENTITY, "split"]


@dataclass(frozen=True)
class SumsUpdate:
    """Sums of today's images, and what came since the earlier ones."""

    stored: StoredSums
    new_images: pa.Table | None
    """Rows of the fitted split that are new: file (in `features.files`), row. None where it is not
    known which are."""
    n_gone: int | None
    """How many images of the fitted split went; None where it is not known."""
    description: str


def fit_split(features: Snapshot) -> str | None:
    """The split that PCA is fitted on; None: all of them."""
    return FIT_SPLIT if FIT_SPLIT in features.typed(FeaturesStatistics).splits else None


def update_sums(
    spark: Callable[[], SparkSession],
    features: Snapshot,
    earlier: StoredSums | None,
    anew: bool = False,
) -> SumsUpdate:
    """Sums of the fitted split of a version of `mobilenet_features`.

    Only files that came and went since the earlier sums are read, unless they are the greater
    part or one that went is not there any more; the sums are the same to 1e-9 either way.

    Args:
        spark: starts Spark.
        features: the version.
        earlier: sums of an earlier version, by the same model.
        anew: sum up all images, whatever the earlier sums are.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
    """
    split = fit_split(features)
    names = {file.name for file in features.files}
    if earlier is None or earlier.split != split:
        sums = sum_files(spark, features.locations, split)
        stored = StoredSums(sums, frozenset(names), split)
        return SumsUpdate(stored, None, None, "all images were summed up")
    came, went = names - earlier.files, earlier.files - names
    new, gone = _difference(features, sorted(came), sorted(went), split)
    most = len(came) + len(went) > len(names) / 2 and len(names) > 4
    updated = None if anew or most else _updated(spark, features, earlier, came, went)
    text = _described(new, gone) if updated else "all images were summed up"
    sums = updated or sum_files(spark, features.locations, split)
    return SumsUpdate(StoredSums(sums, frozenset(names), split), new, gone, text)


def sum_files(
    spark: Callable[[], SparkSession], files: Sequence[Location], split: str | None
) -> Sums:
    """Sum up the features of one split (of all where it is None) in files.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
        UnreadableVersionError: a file is gone or damaged.
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
    came: Iterable[str],
    went: Iterable[str],
) -> Sums | None:
    """The earlier sums without the files that went and with those that came, to the last bit.

    Returns:
        None where a file that went cannot be read any more.
    """
    try:
        lost = sum_files(spark, _locations(features, went), earlier.split)
    except UnreadableVersionError:
        return None
    return earlier.sums - lost + sum_files(spark, _locations(features, came), earlier.split)


def _described(new: pa.Table | None, gone: int | None) -> str:
    if new is None or gone is None:
        return "updated for images that came and went"
    if not new.num_rows and not gone:
        return "no image came or went"
    return f"updated for {new.num_rows:,} images that came and {gone:,} that went"


def _difference(
    features: Snapshot, came: list[str], went: list[str], split: str | None
) -> tuple[pa.Table | None, int | None]:
    """Images that are in the files that came alone, and how many are in those that went alone."""
    new = _images_of(features, came, split)
    try:
        old = _images_of(features, went, split)
    except UnreadableVersionError:
        return None, None
    arrived = new.join(old.select(_IDENTITY), keys=_IDENTITY, join_type="left anti")
    gone = old.join(new.select(_IDENTITY), keys=_IDENTITY, join_type="left anti").num_rows
    order = {file.name: number for number, file in enumerate(features.files)}
    numbers = pa.array([order[name] for name in came], pa.int32())
    rows = pa.table({"file": pc.take(numbers, arrived["file"]), "row": arrived["row"]})
    return rows.sort_by([("file", "ascending"), ("row", "ascending")]), gone


def _images_of(features: Snapshot, names: list[str], split: str | None) -> pa.Table:
    """Keys of the images of the split in these files, with `file` (in `names`) and `row`."""
    if not names:
        kinds = {"orientation": pa.int32()}
        fields = [(name, kinds.get(name, pa.string())) for name in _KEYS]
        return pa.schema([*fields, ("file", pa.int32()), ("row", pa.int32())]).empty_table()
    return _of_split(read_columns(_locations(features, names), _KEYS), split)


def _locations(features: Snapshot, names: Iterable[str]) -> list[Location]:
    return [features.location / name for name in sorted(names)]


def _of_split(rows: pa.Table, split: str | None) -> pa.Table:
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
    """The feature lists of the split, verified, a block at a time: each time the same blocks."""
    columns = ["split", "features"]
    with open_parquet(file, verify=True) as parquet:
        for batch in parquet.iter_batches(ROWS_PER_BLOCK, columns=columns, use_threads=False):
            rows = _of_split(pa.Table.from_batches([batch]), split)
            yield rows["features"].combine_chunks()
