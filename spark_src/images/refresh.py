"""Which files have to be read, which rows go, and the change of both tables that follows.

Unchanged files cost their line in the listing. No Python object an image on the driver.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import Accumulator
from pyspark.sql import SparkSession

from spark_src.errors import AuditError, InputError
from spark_src.images.ingest import (
    DIGEST_MODULUS,
    Batch,
    Ingested,
    from_stream,
    ingester,
    row_digest,
    to_stream,
)
from spark_src.images.listing import FILES, Listing
from spark_src.images.rewrite import Rewrite, rewriter
from spark_src.images.validate import TRANSIENT, Limits
from spark_src.tables.change import Change
from spark_src.tables.delta import DataFile, Snapshot, TableWrite
from spark_src.tables.parquet import new_name, read_columns, run_tasks, write_file
from spark_src.tables.schemas import REJECTED_IMAGES
from spark_src.tables.statistics import Counts, RawImagesStatistics, RejectedImagesStatistics

RULES = "1"
"""Version of the rules by which files are accepted. Another one reads every file again."""

MIN_ROWS, MAX_ROWS, FILES_PER_RUN = 128, 1024, 32
"""Pictures of a file: a few seconds of featurizing, and enough files to share out evenly."""

MAX_BYTES = 32 * 2**20
"""Of the pictures of a file; a worker holds it in memory."""

MAX_SMALL_FILES = 48
"""Of more files with fewer than `MIN_ROWS` pictures, as many small refreshes leave, one is made."""

_SOURCE = ["path", "source_bytes", "source_modified", "source_etag"]


@dataclass(frozen=True)
class IngestPlan:
    """What has to be read and what goes."""

    listing: Listing
    limits: Limits
    to_read: pa.Table
    """Columns of `FILES`."""
    kept_rejected: pa.Table
    """Columns of `rejected_images`: of files that need not be read again."""
    rewrites: tuple[Rewrite, ...] = ()
    removed: tuple[DataFile, ...] = ()
    """Files of `raw_images` that hold rows which go, or are merged."""
    n_stale: int = 0
    """Rows that go: of files that are gone or changed."""
    removed_digest: int = 0
    removed_splits: Counter[str] = field(default_factory=Counter)
    removed_labels: Counter[str] = field(default_factory=Counter)
    starts_over: bool = True
    """Whether nothing of the table that is there is kept."""

    @property
    def fingerprint(self) -> str:
        """Of what decides whether a file is accepted."""
        return fingerprint_of(self.limits)

    def __str__(self) -> str:
        text = f"{self.listing}: {self.to_read.num_rows:,} to read, {self.n_stale:,} rows go"
        return text + (f", {len(self.rewrites):,} files rewritten" if self.rewrites else "")


@dataclass(frozen=True)
class IngestResult:
    """What reading gave."""

    ingested: tuple[Ingested, ...] = ()
    rewritten: tuple[DataFile, ...] = ()


def fingerprint_of(limits: Limits) -> str:
    """Names the rules by which files are accepted."""
    text = f"{RULES} {limits.max_bytes} {limits.max_pixels}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_ingest(
    listing: Listing, limits: Limits, raw: Snapshot | None, rejected: Snapshot | None
) -> IngestPlan:
    """Compare the input with what the tables know of it: path, size, modification time or ETag.

    Args:
        listing: of the input.
        limits: what is too large; other limits than last time read every file again.
        raw: the current version of `raw_images`.
        rejected: that of `rejected_images`.
    """
    known_rejected = _known_rejected(listing, limits, rejected)
    if raw is None or not _same_source(raw, listing, limits):
        files = listing.files
        if known_rejected.num_rows:
            files = _without(files, known_rejected)
        removed = raw.files if raw else ()
        return IngestPlan(listing, limits, _sorted(files), known_rejected, removed=removed)
    known = read_columns(raw.locations, _SOURCE) if raw.files else _no_rows()
    new = _without(listing.files, known)
    new = _without(new, known_rejected) if known_rejected.num_rows else new
    stale = _without(known, listing.files)
    rewrites, removed = _rewrites(raw, stale)
    digest, splits, labels = _shares_of(raw, stale)
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
        labels,
        starts_over=False,
    )


def read_new(
    spark: Callable[[], SparkSession],
    plan: IngestPlan,
    raw: TableWrite,
    done: Callable[[], Accumulator[int]],
) -> IngestResult:
    """Read what is new, and rewrite the files that hold rows which go. Commits nothing.

    Args:
        spark: starts Spark: not called where there is nothing to do.
        plan: see `plan_ingest`.
        raw: the change of `raw_images`.
        done: a counter of files that were read; called after Spark has started.
    """
    batches = list(batches_of(plan.to_read))
    if not batches and not plan.rewrites:
        return IngestResult()
    session = spark()
    work = ingester(plan.listing.root, raw.folder, plan.limits, done())
    ingested = run_tasks(session, batches, work)
    rewritten = run_tasks(session, plan.rewrites, rewriter(raw.folder))
    return IngestResult(tuple(ingested), tuple(rewritten))


def rejected_table(plan: IngestPlan, result: IngestResult) -> pa.Table:
    """The rows of `rejected_images`, sorted by path."""
    refused = plan.listing.refused.select(REJECTED_IMAGES.names).cast(REJECTED_IMAGES)
    new = [from_stream(batch.rejected) for batch in result.ingested]
    return pa.concat_tables([plan.kept_rejected, refused, *new]).sort_by("path")


def rejected_change(plan: IngestPlan, write: TableWrite, rows: pa.Table, started: float) -> Change:
    """The table of rejected files, replaced where it changed."""
    digest = hashlib.sha256(to_stream(rows.combine_chunks())).hexdigest()
    before = write.before
    if before is not None and before.statistics.digest == digest and _same_input(before, plan):
        return Change.none(write)
    statistics = RejectedImagesStatistics(
        digest=digest,
        rows=rows.num_rows,
        input=plan.listing.root.uri,
        fingerprint=plan.fingerprint,
        reasons=_counts(rows["reason"]),
    )
    new = [write_file([rows], write.folder, new_name(0), REJECTED_IMAGES)] if rows.num_rows else []
    gone = tuple(file.name for file in before.files) if before else ()
    return Change(write, statistics, tuple(new), gone, images=rows.num_rows, started=started)


def raw_change(  # noqa: PLR0913, PLR0917 - what the change is made of
    plan: IngestPlan,
    result: IngestResult,
    write: TableWrite,
    n_rejected: int,
    started: float,
    cores: int = 1,
) -> Change:
    """The table of pictures: new files, and what is left of those that held rows which go."""
    statistics = raw_statistics(plan, result, write.before, n_rejected)
    if is_unchanged(plan, statistics, write.before):
        return Change.none(write)
    new = [batch.written for batch in result.ingested if batch.written] + list(result.rewritten)
    found = sum(file.rows for file in new) + _kept_rows(plan, write.before)
    if found != statistics.rows:
        raise AuditError(
            f"raw_images: {found:,} rows were written, but {statistics.rows:,} pictures were "
            "accepted. Nothing was committed. Materialize raw_images again."
        )
    gone = tuple(file.name for file in plan.removed)
    images = plan.to_read.num_rows
    return Change(write, statistics, tuple(new), gone, "", images, cores, started)


def _kept_rows(plan: IngestPlan, before: Snapshot | None) -> int:
    removed = {file.name for file in plan.removed}
    return sum(file.rows for file in before.files if file.name not in removed) if before else 0


def raw_statistics(
    plan: IngestPlan, result: IngestResult, before: Snapshot | None, n_rejected: int
) -> RawImagesStatistics:
    """Of the new version of `raw_images`."""
    known = before.typed(RawImagesStatistics) if before and not plan.starts_over else None
    splits, labels = Counter[str](), Counter[str]()
    digest, rows = 0, 0
    if known is not None and before is not None:
        splits, labels = Counter(known.splits), Counter(known.labels)
        digest, rows = int(known.digest), before.rows - plan.n_stale
    splits.subtract(plan.removed_splits)
    labels.subtract(plan.removed_labels)
    digest -= plan.removed_digest
    for batch in result.ingested:
        splits.update(batch.splits)
        labels.update(batch.labels)
        digest += batch.digest
        rows += batch.written.rows if batch.written else 0
    listing = plan.listing
    largest = min(pc.max(listing.files["source_bytes"]).as_py() or 0, plan.limits.max_bytes)
    return RawImagesStatistics(
        digest=str(digest % DIGEST_MODULUS),
        rows=rows,
        input=listing.root.uri,
        fingerprint=plan.fingerprint,
        n_listed=listing.n_listed,
        rejected=n_rejected,
        ignored=listing.ignored,
        splits=_positive(splits),
        labels=_positive(labels),
        largest_file=largest,
        n_read=plan.to_read.num_rows,
    )


def is_unchanged(
    plan: IngestPlan, statistics: RawImagesStatistics, before: Snapshot | None
) -> bool:
    """Whether the version that is there says all of it already."""
    if before is None or plan.to_read.num_rows or plan.removed or plan.starts_over:
        return False
    known = before.typed(RawImagesStatistics)
    return (known.n_listed, known.rejected, known.ignored, known.digest) == (
        statistics.n_listed,
        statistics.rejected,
        statistics.ignored,
        statistics.digest,
    )


def require_few_rejections(n_rejected: int, listing: Listing, max_share: float) -> None:
    """Stop a run whose input is mostly not pictures.

    Raises:
        InputError: the share of rejected files is greater than `max_share`, or no picture is left.
    """
    share = n_rejected / listing.n_pictures
    if share <= max_share and n_rejected < listing.n_pictures:
        return
    raise InputError(
        f"{n_rejected:,} of {listing.n_pictures:,} files under {listing.root} were rejected "
        f"({share:.1%}); at most {max_share:.1%} may be. The table rejected_images says why for "
        "each. Mend the input, or raise max_rejected_share in the run's config."
    )


def batches_of(files: pa.Table) -> Iterator[Batch]:
    """What each task reads: neighbours by path, so that the same input gives the same files."""
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


def _known_rejected(listing: Listing, limits: Limits, rejected: Snapshot | None) -> pa.Table:
    """Rows of files that were rejected, have not changed, and would be rejected again."""
    none = REJECTED_IMAGES.empty_table()
    if rejected is None or not rejected.files or not _same_source(rejected, listing, limits):
        return none
    columns = read_columns(rejected.locations, REJECTED_IMAGES.names).select(REJECTED_IMAGES.names)
    transient = pa.array([str(reason) for reason in TRANSIENT])
    columns = columns.filter(pc.invert(pc.is_in(columns["reason"], transient)))
    named = columns.append_column("source_bytes", columns["bytes"])
    still_there = _matching(named, listing.files, "left semi")
    return still_there.select(REJECTED_IMAGES.names).cast(REJECTED_IMAGES)


def _same_source(snapshot: Snapshot, listing: Listing, limits: Limits) -> bool:
    known = snapshot.statistics
    if not isinstance(known, RawImagesStatistics | RejectedImagesStatistics):
        return False
    return (known.input, known.fingerprint) == (listing.root.uri, fingerprint_of(limits))


def _same_input(snapshot: Snapshot, plan: IngestPlan) -> bool:
    return _same_source(snapshot, plan.listing, plan.limits)


def _rewrites(raw: Snapshot, stale: pa.Table) -> tuple[tuple[Rewrite, ...], tuple[DataFile, ...]]:
    """Files to rewrite without the rows that go; small ones are merged where they got many."""
    dropped = _rows_by_file(stale)
    small = [n for n, file in enumerate(raw.files) if file.rows < MIN_ROWS]
    merged = set(small) if len(small) > MAX_SMALL_FILES else set()
    removed = sorted(dropped.keys() | merged)
    whole = [n for n in removed if len(dropped.get(n, ())) < raw.files[n].rows]
    alone = [[n] for n in whole if n not in merged]
    rewrites = []
    for number, group in enumerate([*alone, *_groups(raw, [n for n in whole if n in merged])]):
        sources = tuple(
            (raw.locations[n], dropped.get(n, np.empty(0, np.int64)).tolist()) for n in group
        )
        rewrites.append(Rewrite(new_name(number), sources))
    return tuple(rewrites), tuple(raw.files[n] for n in removed)


def _groups(raw: Snapshot, files: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours that make one file together."""
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


def _shares_of(raw: Snapshot, stale: pa.Table) -> tuple[int, Counter[str], Counter[str]]:
    """What the rows that go have in the table's digest and counts."""
    digest, splits, labels = 0, Counter[str](), Counter[str]()
    columns = ["path", "image_id", "orientation", "split", "label"]
    for number, rows in _rows_by_file(stale).items():
        found = read_columns([raw.locations[number]], columns).take(pa.array(rows))
        keys = (found[name].to_pylist() for name in columns[:3])
        digest += sum(row_digest(*key) for key in zip(*keys, strict=True))
        splits.update(_counts(found["split"]))
        labels.update(_counts(found["label"]))
    return digest % DIGEST_MODULUS, splits, labels


def _without(rows: pa.Table, known: pa.Table) -> pa.Table:
    if "source_bytes" not in known.column_names:
        known = known.append_column("source_bytes", known["bytes"])
    return _matching(rows, known, "left anti")


def _matching(rows: pa.Table, known: pa.Table, how: str) -> pa.Table:
    """Rows whose file is, or is not, in `known` just as it is: same path, size, time, ETag."""
    keys = [f"key_{name}" for name in _SOURCE]
    both = [_with_keys(table) for table in (rows, known)]
    joined = both[0].join(both[1].select(keys), keys=keys, join_type=how)
    return joined.select(rows.column_names)


def _with_keys(table: pa.Table) -> pa.Table:
    """With the columns that are compared, without nulls: no null equals another in a join."""
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


def _counts(column: pa.ChunkedArray) -> Counts:
    counted = pc.value_counts(pc.fill_null(column, ""))
    return {item["values"]: item["counts"] for item in counted.to_pylist()}


def _positive(counts: Counter[str]) -> Counts:
    return {name: number for name, number in sorted(counts.items()) if number > 0}
