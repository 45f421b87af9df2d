"""Finds a target's rows in all files, and removes them from the tables of pictures.

The pipeline then updates features, PCA, components and CSV: they follow the files of `raw_images`
by name, and the removed files are subtracted from the PCA sums.
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
from spark_src.tables import schemas
from spark_src.tables.delta import CURRENT, Snapshot, Tables
from spark_src.tables.parquet import READING_THREADS, new_name, read_columns, run_tasks, write_file
from spark_src.tables.registry import RAW_IMAGES, REJECTED_IMAGES, TABLES
from spark_src.tables.statistics import Counts, RawImagesStatistics, RejectedImagesStatistics

NOTE = "erasure"
"""Note of every commit of an erasure."""

_KEYS = ("path", "image_id")
LOGS = ("_delta_log/", f"{CURRENT}/_delta_log/")
"""Path prefixes of the Delta log, for tables and for assets without a table."""


@dataclass
class TableTraces:
    """The data of a target found in table files, committed or not."""

    rows: dict[str, int] = field(default_factory=dict)
    """Table -> number of rows in the current version."""
    uncommitted: int = 0
    """Rows in files outside the current version: of killed runs and earlier versions."""
    paths: set[str] = field(default_factory=set)
    image_ids: set[str] = field(default_factory=set)
    shared: int = 0
    """Pictures also supplied by other people."""
    several_owners: int = 0
    """Pictures selected by id that several people supplied."""
    similar: set[str] = field(default_factory=set)
    """Folders in paths of rows that are similar to the person's."""
    elsewhere: set[str] = field(default_factory=set)
    """Folders in paths of rows that have the person's name but are not in `photos/`."""

    @property
    def has_rows(self) -> bool:
        """Whether any file has a row of the target."""
        return bool(self.uncommitted or any(self.rows.values()))


def find_traces(tables: Tables, target: Target, image_ids: Iterable[str] = ()) -> TableTraces:
    """Search for a target in every file of the tables. Changes nothing.

    Args:
        tables: the storage.
        target: the person or pictures.
        image_ids: ids of pictures known to be the target's.
    """
    traces = TableTraces(image_ids={*image_ids, *target.image_ids})
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        for asset in TABLES:
            snapshot = tables.find(asset)
            current = {file.name for file in snapshot.files} if snapshot else set()
            traces.rows[asset] = 0
            entries = [entry for entry in walk(tables.prefix(asset)) if may_hold_rows(entry)]
            found = pool.map(lambda entry: _target_rows(entry, target), entries)
            for entry, target_rows in zip(entries, found, strict=True):
                if entry.path in current:
                    traces.rows[asset] += target_rows.num_rows
                else:
                    traces.uncommitted += target_rows.num_rows
                traces.paths.update(target_rows["path"].to_pylist())
                traces.image_ids.update(target_rows["image_id"].drop_null().to_pylist())
    for asset in (RAW_IMAGES, REJECTED_IMAGES):
        snapshot = tables.find(asset)
        if snapshot is not None and snapshot.files:
            _compare(traces, _keys_of(snapshot), target)
    return traces


def remove_rows(
    spark: Callable[[], SparkSession], tables: Tables, target: Target, run_id: str
) -> Counts:
    """Remove a target's rows from the tables of pictures; return their number by table.

    Both tables get a commit even if they have no such rows, so that runs that started before cannot
    commit. A table that does not exist gets none. A first run is not blocked here: `fruits erase`
    does not start while a run is queued or in progress, its inputs are already deleted, and `purge`
    deletes the files that it wrote.

    Args:
        spark: starts Spark. Not called if no file is rewritten.
        tables: the storage.
        target: the person or pictures.
        run_id: id of the committing run.

    Raises:
        ConcurrentWriteError: another run committed in the meantime. Call again to complete the
            work.
    """
    rejected = _remove_rejected(tables, target, run_id)
    return {RAW_IMAGES: _remove_raw(spark, tables, target, run_id), REJECTED_IMAGES: rejected}


def _remove_rejected(tables: Tables, target: Target, run_id: str) -> int:
    write = tables.begin(REJECTED_IMAGES, run_id)
    before = write.before
    if before is None:
        return 0
    known = before.typed(RejectedImagesStatistics)
    rows = schemas.REJECTED_IMAGES.empty_table()
    if before.files:
        rows = read_columns(before.locations, schemas.REJECTED_IMAGES.names)
        rows = rows.select(schemas.REJECTED_IMAGES.names).cast(schemas.REJECTED_IMAGES)
    remaining = rows.filter(pc.invert(target.rows(rows))).sort_by("path")
    removed = int(rows.num_rows - remaining.num_rows)
    if not removed:
        write.commit(known, note=NOTE)
        return 0
    statistics = known.model_copy(
        update={
            "digest": hashlib.sha256(to_stream(remaining.combine_chunks())).hexdigest(),
            "rows": remaining.num_rows,
            "reasons": count_values(remaining["reason"]),
        }
    )
    new = (
        [write_file([remaining], write.folder, new_name(0), schemas.REJECTED_IMAGES)]
        if remaining.num_rows
        else []
    )
    write.commit(statistics, new, [file.name for file in before.files], NOTE)
    return removed


def _remove_raw(
    spark: Callable[[], SparkSession], tables: Tables, target: Target, run_id: str
) -> int:
    write = tables.begin(RAW_IMAGES, run_id)
    before = write.before
    if before is None:
        return 0
    target_rows = _keys_of(before)
    target_rows = (
        target_rows.filter(target.rows(target_rows)) if target_rows.num_rows else target_rows
    )
    statistics = _statistics_without(before, target_rows, tables.find(REJECTED_IMAGES))
    if not target_rows.num_rows:
        write.commit(statistics, note=NOTE)
        return 0
    rewrites, removed = rewrites_without(before, target_rows, may_merge=False)
    new = run_tasks(spark(), rewrites, rewriter(write.folder)) if rewrites else []
    n_removed = sum(file.rows for file in removed) - sum(file.rows for file in new)
    if n_removed != target_rows.num_rows:
        raise ErasureError(
            f"raw_images: {n_removed:,} rows would be removed, but "
            f"{target_rows.num_rows:,} belong to the target. Nothing was "
            "committed; run `fruits erase` again."
        )
    write.commit(statistics, new, [file.name for file in removed], NOTE)
    return int(n_removed)


def intersect(column: pa.ChunkedArray, values: Iterable[str]) -> list[str]:
    """The distinct values that occur in a column."""
    found: list[str] = pc.unique(
        column.filter(pc.is_in(column, pa.array(sorted(values), pa.string())))
    ).to_pylist()
    return found


def _statistics_without(
    before: Snapshot, target_rows: pa.Table, rejected: Snapshot | None
) -> RawImagesStatistics:
    known = before.typed(RawImagesStatistics)
    digest, splits, labels = shares_of(before, target_rows)
    rows = before.rows - target_rows.num_rows
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
    """Whether an entry is a table's data file, complete or not, committed or not."""
    return entry.kind is Kind.FILE and ".parquet" in entry.path and not entry.path.startswith(LOGS)


def _target_rows(entry: Entry, target: Target) -> pa.Table:
    """Keys of a target's rows in a file; empty if it is not a complete Parquet file."""
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
    positions = [("file", pa.int32()), ("row", pa.int32())]
    return pa.schema([*((name, pa.string()) for name in names), *positions]).empty_table()


def _compare(traces: TableTraces, keys: pa.Table, target: Target) -> None:
    """Record shared pictures and folders similar to the person's."""
    others = keys.filter(pc.invert(target.rows(keys)))
    if "image_id" in keys.column_names:
        traces.shared += len(intersect(others["image_id"], traces.image_ids))
        traces.several_owners += _several_owners(keys, target)
    if target.subject is None:
        return
    for folder, name in _first_folders(others["path"]):
        if target.is_similar(folder, name):
            traces.similar.add(f"{folder}/{name}")
    anywhere = pc.binary_join_element_wise("", others["path"], "/")
    paths = others["path"].filter(pc.match_substring(anywhere, f"/{target.subject}/"))
    traces.elsewhere.update(_folders_of_name(pc.unique(_parents(paths)).to_pylist(), target))


def _several_owners(keys: pa.Table, target: Target) -> int:
    """Number of pictures selected by id that several people supplied."""
    selected = keys.filter(
        pc.is_in(keys["image_id"], pa.array(sorted(target.image_ids), pa.string()))
    )
    owners: dict[str, set[str | None]] = {}
    for path, image_id in zip(
        selected["path"].to_pylist(), selected["image_id"].to_pylist(), strict=True
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
    """Distinct first two folders of photos' paths, for any spelling of the first."""
    photos = paths.filter(pc.match_substring_regex(paths, rf"(?i)^\s*{PHOTOS}\s*/[^/]+/"))
    found = pc.extract_regex(photos, r"(?s)^(?P<folder>[^/]*)/(?P<name>[^/]*)/")
    parts = pc.struct_field(found, "folder"), pc.struct_field(found, "name")
    folders = pc.binary_join_element_wise(*parts, "/")
    for pair in pc.unique(folders).to_pylist():
        folder, _, name = pair.partition("/")
        yield folder, name
