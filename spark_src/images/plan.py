"""Plans an ingest: files to read, rows to remove, and data files to rewrite. Reads no picture.

Unchanged files are only listed. The driver works on Arrow columns, not on one object per picture.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_src.images.ingest import DIGEST_MODULUS, Batch, row_digest, to_stream
from spark_src.images.labels import Labels
from spark_src.images.layout import are_photos
from spark_src.images.listing import FILES, Listing
from spark_src.images.rejection import TRANSIENT, Limits
from spark_src.images.rewrite import Rewrite
from spark_src.tables.delta import DataFile, Snapshot
from spark_src.tables.parquet import READING_THREADS, new_name, read_columns
from spark_src.tables.schemas import REJECTED_IMAGES
from spark_src.tables.statistics import Counts, RawImagesStatistics, RejectedImagesStatistics
from spark_src.text import counted

RULES = "3"
"""Version of the rules by which files are accepted. A change reads every file again."""

MIN_ROWS, MAX_ROWS, FILES_PER_RUN = 128, 1024, 32
"""Pictures per data file: seconds of feature extraction, and enough files to balance tasks."""

MAX_BYTES = 32 * 2**20
"""Maximum bytes of pictures per data file. A worker holds a whole file in memory."""

MAX_SMALL_FILES = 48
"""If there are more small files than this, the next change merges them."""

_SOURCE = ["path", "source_bytes", "source_modified", "source_etag"]


@dataclass(frozen=True)
class IngestPlan:
    """The files to read and the rows to remove."""

    listing: Listing
    limits: Limits
    to_read: pa.Table
    """Columns of `FILES`."""
    kept_rejected: pa.Table
    """Columns of `rejected_images`, for files that need not be read again."""
    rewrites: tuple[Rewrite, ...] = ()
    removed: tuple[DataFile, ...] = ()
    """Files of `raw_images` that contain stale rows or are merged."""
    n_stale: int = 0
    """Rows of files that were deleted or have changed."""
    removed_digest: int = 0
    removed_splits: Counter[str] = field(default_factory=Counter)
    removed_labels: Counter[str] = field(default_factory=Counter)
    starts_over: bool = True
    """Whether the whole table is replaced."""
    labels: Labels = field(default_factory=Labels)
    """Corrections of the labels derived from folders."""

    @property
    def fingerprint(self) -> str:
        """Identifies the rules by which files are accepted."""
        return fingerprint_of(self.limits)

    def __str__(self) -> str:
        stale = counted(self.n_stale, "row")
        text = f"{self.listing}: {self.to_read.num_rows:,} to read, {stale} to remove"
        return text + (
            f", {counted(len(self.rewrites), 'file')} to rewrite" if self.rewrites else ""
        )


def fingerprint_of(limits: Limits) -> str:
    """A hash of the rules by which files are accepted."""
    text = f"{RULES} {limits.max_bytes} {limits.max_pixels} {limits.max_side}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_ingest(
    listing: Listing,
    limits: Limits,
    raw: Snapshot | None,
    rejected: Snapshot | None,
    labels: Labels | None = None,
) -> IngestPlan:
    """Compare the input with the tables by path, size, modification time and ETag.

    Args:
        listing: the files of the input.
        limits: size limits; changed limits read every file again.
        raw: the current version of `raw_images`.
        rejected: the current version of `rejected_images`.
        labels: label corrections; pictures whose label changes are read again.
    """
    labels = labels or Labels()
    known_rejected = _known_rejected(listing, limits, rejected)
    if raw is None or not has_same_source(raw, listing, limits):
        files = listing.files
        if known_rejected.num_rows:
            files = _remove_known(files, known_rejected)
        removed = raw.files if raw else ()
        return IngestPlan(
            listing, limits, _sorted(files), known_rejected, removed=removed, labels=labels
        )
    known = read_columns(raw.locations, _SOURCE) if raw.files else _no_rows()
    outdated = _outdated(raw, known, labels)
    new = _remove_known(listing.files, known)
    new = _remove_known(new, known_rejected) if known_rejected.num_rows else new
    stale = _remove_known(known, listing.files)
    if outdated.num_rows:
        again = listing.files.filter(pc.is_in(listing.files["path"], outdated["path"].unique()))
        new = pa.concat_tables([new, _remove_known(again, new)])
        stale = pa.concat_tables([stale, _remove_known(outdated, stale)])
    has_work = bool(new.num_rows or stale.num_rows)
    rewrites, removed = rewrites_without(raw, stale, may_merge=has_work)
    digest, splits, counts = shares_of(raw, stale)
    return IngestPlan(
        listing,
        limits,
        _sorted(new),
        known_rejected,
        rewrites,
        removed,
        stale.num_rows,
        digest,
        splits,
        counts,
        starts_over=False,
        labels=labels,
    )


def _outdated(raw: Snapshot, known: pa.Table, labels: Labels) -> pa.Table:
    """The known rows whose label the corrections change; none if the corrections are unchanged."""
    if labels.digest == int(raw.typed(RawImagesStatistics).labels_digest) or not raw.files:
        return known.slice(0, 0)
    return known.filter(labels.differ_from(read_columns(raw.locations, ["path", "label"])))


def batches_of(files: pa.Table) -> Iterator[Batch]:
    """The files for each task, in path order, so that the same input gives the same data files."""
    sizes = files["source_bytes"].to_numpy()
    rows = min(MAX_ROWS, max(MIN_ROWS, math.ceil(len(sizes) / FILES_PER_RUN)))
    ends, start = np.cumsum(sizes), 0
    for number in count():
        if start >= len(sizes):
            return
        before = ends[start - 1] if start else 0
        by_bytes = int(np.searchsorted(ends, before + MAX_BYTES, side="right"))
        end = min(start + rows, max(start + 1, by_bytes), len(sizes))
        yield Batch(new_name(number), to_stream(files.slice(start, end - start)))
        start = end


def has_same_source(snapshot: Snapshot, listing: Listing, limits: Limits) -> bool:
    """Whether a version was computed from this input, by these rules."""
    known = snapshot.statistics
    if not isinstance(known, RawImagesStatistics | RejectedImagesStatistics):
        return False
    return (known.input, known.fingerprint) == (listing.root.uri, fingerprint_of(limits))


def count_values(column: pa.ChunkedArray) -> Counts:
    """Number of rows per value; null counts as the empty string."""
    counted = pc.value_counts(pc.fill_null(column, ""))
    return {item["values"]: item["counts"] for item in counted.to_pylist()}


def _known_rejected(listing: Listing, limits: Limits, rejected: Snapshot | None) -> pa.Table:
    """Rows of rejected files that have not changed and would be rejected again."""
    none = REJECTED_IMAGES.empty_table()
    if rejected is None or not rejected.files or not has_same_source(rejected, listing, limits):
        return none
    columns = read_columns(rejected.locations, REJECTED_IMAGES.names).select(REJECTED_IMAGES.names)
    transient = pa.array([str(reason) for reason in TRANSIENT])
    columns = columns.filter(pc.invert(pc.is_in(columns["reason"], transient)))
    with_keys = columns.append_column("source_bytes", columns["bytes"])
    still_there = _matching(with_keys, listing.files, "left semi")
    return still_there.select(REJECTED_IMAGES.names).cast(REJECTED_IMAGES)


def rewrites_without(
    raw: Snapshot, stale: pa.Table, may_merge: bool
) -> tuple[tuple[Rewrite, ...], tuple[DataFile, ...]]:
    """Files to rewrite without stale rows. Small files are merged if there are too many."""
    dropped = _rows_by_file(stale)
    # A file with a few large photos is full. Counted as small, it would be rewritten every time.
    small = [
        n
        for n, file in enumerate(raw.files)
        if file.rows < MIN_ROWS and file.bytes < MAX_BYTES // 2
    ]
    merged = set(small) if may_merge and len(small) > MAX_SMALL_FILES else set()
    removed = sorted(dropped.keys() | merged)
    whole = [n for n in removed if len(dropped.get(n, ())) < raw.files[n].rows]
    unmerged = [[n] for n in whole if n not in merged]
    rewrites = []
    for number, group in enumerate([*unmerged, *_groups(raw, [n for n in whole if n in merged])]):
        sources = tuple((raw.locations[n], dropped.get(n, np.empty(0, np.int64))) for n in group)
        rewrites.append(Rewrite(new_name(number), sources))
    return tuple(rewrites), tuple(raw.files[n] for n in removed)


def _groups(raw: Snapshot, files: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive files that are merged into one."""
    group: list[int] = []
    rows = size = 0
    for number in files:
        file = raw.files[number]
        if group and (rows + file.rows > MAX_ROWS or size + file.bytes > MAX_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(number)
        rows, size = rows + file.rows, size + file.bytes
    if group:
        yield group


def _rows_by_file(stale: pa.Table) -> dict[int, NDArray[np.int64]]:
    if not stale.num_rows:
        return {}
    ordered = stale.select(["file", "row"]).sort_by([("file", "ascending"), ("row", "ascending")])
    files, rows = ordered["file"].to_numpy(), ordered["row"].to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.r_[True, files[1:] != files[:-1]])
    return {
        int(files[start]): part
        for start, part in zip(starts, np.split(rows, starts[1:]), strict=True)
    }


def shares_of(raw: Snapshot, stale: pa.Table) -> tuple[int, Counter[str], Counter[str]]:
    """The digest, split counts and label counts of the stale rows."""
    digest, splits, labels = 0, Counter[str](), Counter[str]()
    columns = ["path", "image_id", "orientation", "split", "label"]

    def read(number: int, rows: NDArray[np.int64]) -> pa.Table:
        return read_columns([raw.locations[number]], columns).take(pa.array(rows))

    stale_rows = _rows_by_file(stale)
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        for found in pool.map(read, stale_rows.keys(), stale_rows.values()):
            keys = (found[name].to_pylist() for name in columns[:3])
            digest += sum(row_digest(*key) for key in zip(*keys, strict=True))
            splits.update(count_values(found["split"]))
            photos = are_photos(found["path"])
            labels.update(count_values(pc.if_else(photos, "", found["label"])))
    return digest % DIGEST_MODULUS, splits, labels


def _remove_known(rows: pa.Table, known: pa.Table) -> pa.Table:
    if "source_bytes" not in known.column_names:
        known = known.append_column("source_bytes", known["bytes"])
    return _matching(rows, known, "left anti")


def _matching(rows: pa.Table, known: pa.Table, how: str) -> pa.Table:
    """Join rows with `known` by path, size, modification time and ETag."""
    keys = [f"key_{name}" for name in _SOURCE]
    keyed = [_with_keys(table) for table in (rows, known)]
    joined = keyed[0].join(keyed[1].select(keys), keys=keys, join_type=how)
    return joined.select(rows.column_names)


def _with_keys(table: pa.Table) -> pa.Table:
    """Add the join keys without nulls, because nulls never match in a join."""
    for name in _SOURCE:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        empty: str | int = "" if pa.types.is_string(column.type) else -1
        table = table.append_column(f"key_{name}", pc.fill_null(column, empty))
    return table


def _sorted(files: pa.Table) -> pa.Table:
    return files.select(FILES.names).sort_by("path").combine_chunks()


def _no_rows() -> pa.Table:
    fields = [FILES.field(name) for name in _SOURCE]
    return pa.schema([*fields, ("file", pa.int32()), ("row", pa.int32())]).empty_table()
