"""Which rows are a target's, wherever they lie, and taking them out of the tables of pictures.

Features, PCA, components and CSV are made of what is left by the pipeline itself: they follow the
files of `raw_images` by name, and the sums of PCA lose just the files that went.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from spark_src.erasure.files import Entry, Kind, walk
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.images.counts import update_counts
from spark_src.images.ingest import DIGEST_MODULUS, to_stream
from spark_src.images.layout import PHOTOS, person_of
from spark_src.images.plan import count_values, rewrites_without, shares_of
from spark_src.images.rewrite import rewriter
from spark_src.tables.delta import CURRENT, Snapshot, Tables
from spark_src.tables.parquet import READING_THREADS, new_name, read_columns, run_tasks, write_file
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import REJECTED_IMAGES
from spark_src.tables.statistics import Counts, RawImagesStatistics, RejectedImagesStatistics

NOTE = "erasure"
"""Of every commit that an erasure makes."""

_KEYS = ("path", "image_id")
LOGS = ("_delta_log/", f"{CURRENT}/_delta_log/")
"""Of a table, and of an asset that is none: how the paths of its log begin."""


@dataclass
class TableTraces:
    """What the tables have of a target, committed or not."""

    rows: dict[str, int] = field(default_factory=dict)
    """Of each table's current version."""
    uncommitted: int = 0
    """Rows of files that belong to no current version: of killed runs, of earlier versions."""
    paths: set[str] = field(default_factory=set)
    image_ids: set[str] = field(default_factory=set)
    shared: int = 0
    """Pictures that somebody else supplied, too."""
    several_owners: int = 0
    """Pictures named by their ids that more than one supplied."""
    similar: set[str] = field(default_factory=set)
    """Folders of rows that are nearly the person's."""
    elsewhere: set[str] = field(default_factory=set)
    """Folders of rows that have the person's name and are not in `photos/`."""

    @property
    def has_rows(self) -> bool:
        """Whether any file has a row of the target."""
        return bool(self.uncommitted or any(self.rows.values()))


def look_through(tables: Tables, target: Target, image_ids: Iterable[str] = ()) -> TableTraces:
    """Look for a target in every file of the tables; nothing is changed.

    Args:
        tables: the storage.
        target: whose data.
        image_ids: of pictures that are known to be the target's.
    """
    traces = TableTraces(image_ids={*image_ids, *target.image_ids})
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        for asset in TABLES:
            snapshot = tables.find(asset)
            current = {file.name for file in snapshot.files} if snapshot else set()
            traces.rows[asset] = 0
            entries = [entry for entry in walk(tables.prefix(asset)) if may_hold_rows(entry)]
            found = pool.map(lambda entry: _theirs(entry, target), entries)
            for entry, theirs in zip(entries, found, strict=True):
                if entry.path in current:
                    traces.rows[asset] += theirs.num_rows
                else:
                    traces.uncommitted += theirs.num_rows
                traces.paths.update(theirs["path"].to_pylist())
                traces.image_ids.update(theirs["image_id"].drop_null().to_pylist())
    for asset in ("raw_images", "rejected_images"):
        snapshot = tables.find(asset)
        if snapshot is not None and snapshot.files:
            _compare(traces, _keys_of(snapshot), target)
    return traces


def remove_rows(
    spark: Callable[[], SparkSession], tables: Tables, target: Target, run_id: str
) -> Counts:
    """Take a target's rows out of the tables of pictures; return how many of each.

    Both tables get a commit, whether they had such rows or not: a run that began to change one
    before is refused, whatever it had read. A table that does not exist gets none. What a first run
    is making then is not held up here: `fruits erase` refuses to start while one is queued or in
    progress, what it has read is gone from the input, and `purge` deletes the files that it wrote.

    Args:
        spark: starts Spark: not called where no file is rewritten.
        tables: the storage.
        target: whose rows.
        run_id: of the run that commits.

    Raises:
        ConcurrentWriteError: another run committed meanwhile; calling again completes the work.
    """
    rejected = _remove_rejected(tables, target, run_id)
    return {"raw_images": _remove_raw(spark, tables, target, run_id), "rejected_images": rejected}


def _remove_rejected(tables: Tables, target: Target, run_id: str) -> int:
    write = tables.begin("rejected_images", run_id)
    before = write.before
    if before is None:
        return 0
    known = before.typed(RejectedImagesStatistics)
    rows = REJECTED_IMAGES.empty_table()
    if before.files:
        rows = read_columns(before.locations, REJECTED_IMAGES.names)
        rows = rows.select(REJECTED_IMAGES.names).cast(REJECTED_IMAGES)
    left = rows.filter(pc.invert(target.rows(rows))).sort_by("path")
    removed = int(rows.num_rows - left.num_rows)
    if not removed:
        write.commit(known, note=NOTE)
        return 0
    statistics = known.model_copy(
        update={
            "digest": hashlib.sha256(to_stream(left.combine_chunks())).hexdigest(),
            "rows": left.num_rows,
            "reasons": count_values(left["reason"]),
        }
    )
    new = [write_file([left], write.folder, new_name(0), REJECTED_IMAGES)] if left.num_rows else []
    write.commit(statistics, new, [file.name for file in before.files], NOTE)
    return removed


def _remove_raw(
    spark: Callable[[], SparkSession], tables: Tables, target: Target, run_id: str
) -> int:
    write = tables.begin("raw_images", run_id)
    before = write.before
    if before is None:
        return 0
    theirs = _keys_of(before)
    theirs = theirs.filter(target.rows(theirs)) if theirs.num_rows else theirs
    statistics = _statistics_without(before, theirs, tables.find("rejected_images"))
    if not theirs.num_rows:
        write.commit(statistics, note=NOTE)
        return 0
    rewrites, removed = rewrites_without(before, theirs, may_merge=False)
    new = run_tasks(spark(), rewrites, rewriter(write.folder)) if rewrites else []
    gone = sum(file.rows for file in removed) - sum(file.rows for file in new)
    if gone != theirs.num_rows:
        raise ErasureError(
            f"raw_images: {gone:,} rows would go, but {theirs.num_rows:,} are meant. Nothing was "
            "committed; call `fruits erase` again."
        )
    write.commit(statistics, new, [file.name for file in removed], NOTE)
    return int(gone)


def among(column: pa.ChunkedArray, values: Iterable[str]) -> list[str]:
    """Those of the values that a column has, each once."""
    found: list[str] = pc.unique(
        column.filter(pc.is_in(column, pa.array(sorted(values), pa.string())))
    ).to_pylist()
    return found


def _statistics_without(
    before: Snapshot, theirs: pa.Table, rejected: Snapshot | None
) -> RawImagesStatistics:
    known = before.typed(RawImagesStatistics)
    digest, splits, labels = shares_of(before, theirs)
    rows = before.rows - theirs.num_rows
    n_rejected = rejected.rows if rejected else 0
    return known.model_copy(
        update={
            "digest": str((int(known.digest) - digest) % DIGEST_MODULUS),
            "rows": rows,
            "rejected": n_rejected,
            "n_listed": rows + n_rejected + sum(known.ignored.values()),
            "splits": update_counts(known.splits, splits, ()),
            "labels": update_counts(known.labels, labels, ()),
        }
    )


def may_hold_rows(entry: Entry) -> bool:
    """Whether it is a table's file, whole or not, committed or not."""
    return entry.kind is Kind.FILE and ".parquet" in entry.path and not entry.path.startswith(LOGS)


def _theirs(entry: Entry, target: Target) -> pa.Table:
    """Keys of a target's rows in a file; none of one that is no whole Parquet file."""
    try:
        with entry.open() as stream, pq.ParquetFile(pa.PythonFile(stream, "r")) as parquet:
            names = [name for name in _KEYS if name in parquet.schema_arrow.names]
            table = parquet.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException):
        return _no_keys()
    if "path" not in names:
        return _no_keys()
    if "image_id" not in names:
        table = table.append_column("image_id", pa.nulls(table.num_rows, pa.string()))
    return table.filter(target.rows(table))


def _no_keys() -> pa.Table:
    return pa.schema([(name, pa.string()) for name in _KEYS]).empty_table()


def _keys_of(snapshot: Snapshot) -> pa.Table:
    """Keys of all rows of a version, with `file` and `row`."""
    names = [name for name in _KEYS if name in TABLES[snapshot.asset].names]
    if snapshot.files:
        return read_columns(snapshot.locations, names)
    places = [("file", pa.int32()), ("row", pa.int32())]
    return pa.schema([*((name, pa.string()) for name in names), *places]).empty_table()


def _compare(traces: TableTraces, keys: pa.Table, target: Target) -> None:
    """Who else has the pictures, and whose folders look like the person's."""
    others = keys.filter(pc.invert(target.rows(keys)))
    if "image_id" in keys.column_names:
        traces.shared += len(among(others["image_id"], traces.image_ids))
        traces.several_owners += _several_owners(keys, target)
    if target.subject is None:
        return
    for folder, name in _first_folders(others["path"]):
        if target.is_similar(folder, name):
            traces.similar.add(f"{folder}/{name}")
    anywhere = pc.binary_join_element_wise("", others["path"], "/")
    named = others["path"].filter(pc.match_substring(anywhere, f"/{target.subject}/"))
    traces.elsewhere.update(_folders_of_name(pc.unique(_parents(named)).to_pylist(), target))


def _several_owners(keys: pa.Table, target: Target) -> int:
    """How many of the pictures that are named by their ids more than one supplied."""
    asked = keys.filter(pc.is_in(keys["image_id"], pa.array(sorted(target.image_ids), pa.string())))
    owners: dict[str, set[str | None]] = {}
    for path, image_id in zip(
        asked["path"].to_pylist(), asked["image_id"].to_pylist(), strict=True
    ):
        owners.setdefault(image_id, set()).add(person_of(path))
    return sum(1 for found in owners.values() if len(found) > 1)


def _parents(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(paths, r"/[^/]*$", "")


def _folders_of_name(folders: Iterable[str], target: Target) -> Iterator[str]:
    for folder in folders:
        names = folder.split("/")
        if target.subject not in names:
            continue
        count = names.index(target.subject) + 1
        if not target.is_similar("/".join(names[: count - 1]), target.subject):
            yield "/".join(names[:count])


def _first_folders(paths: pa.ChunkedArray) -> Iterator[tuple[str, str]]:
    """The first two folders of photos' paths, each once, however the first is spelled."""
    photos = paths.filter(pc.match_substring_regex(paths, rf"(?i)^\s*{PHOTOS}\s*/[^/]+/"))
    found = pc.extract_regex(photos, r"(?s)^(?P<folder>[^/]*)/(?P<name>[^/]*)/")
    named = pc.struct_field(found, "folder"), pc.struct_field(found, "name")
    both = pc.binary_join_element_wise(*named, "/")
    for pair in pc.unique(both).to_pylist():
        folder, _, name = pair.partition("/")
        yield folder, name
