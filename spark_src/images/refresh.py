"""Executes an ingest plan and builds the changes of both tables. Commits nothing."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import Accumulator
from pyspark.sql import SparkSession

from spark_src.errors import AuditError, InputError
from spark_src.images.counts import update_counts
from spark_src.images.ingest import DIGEST_MODULUS, Ingested, from_stream, ingester, to_stream
from spark_src.images.listing import Listing
from spark_src.images.plan import IngestPlan, batches_of, count_values, has_same_source
from spark_src.images.rewrite import rewriter
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import DataFile, Snapshot, TableWrite
from spark_src.tables.parquet import new_name, run_tasks, write_file
from spark_src.tables.schemas import REJECTED_IMAGES
from spark_src.tables.statistics import RawImagesStatistics, RejectedImagesStatistics
from spark_src.text import counted

MIN_FILES_FOR_SHARE = 50
"""With fewer files, the rejected share is not checked."""


@dataclass(frozen=True)
class IngestResult:
    """The data files and results of reading."""

    ingested: tuple[Ingested, ...] = ()
    rewritten: tuple[DataFile, ...] = ()

    @property
    def files(self) -> list[DataFile]:
        """The data files of `raw_images` that were written."""
        return [batch.written for batch in self.ingested if batch.written] + [*self.rewritten]


def read_new(
    spark: Callable[[], SparkSession],
    plan: IngestPlan,
    raw: TableWrite,
    done: Callable[[], Accumulator[int]],
) -> IngestResult:
    """Read new files, and rewrite data files that contain stale rows. Commits nothing.

    Args:
        spark: starts Spark. Not called if there is nothing to do.
        plan: see `plan_ingest`.
        raw: the pending write of `raw_images`.
        done: creates the counter of files read. Called after Spark has started.
    """
    batches = list(batches_of(plan.to_read))
    if not batches and not plan.rewrites:
        return IngestResult()
    session = spark()
    work = ingester(plan.listing.root, raw.folder, plan.limits, done(), plan.labels)
    ingested = run_tasks(session, batches, work)
    rewritten = run_tasks(session, plan.rewrites, rewriter(raw.folder))
    return IngestResult(tuple(ingested), tuple(rewritten))


def rejected_table(plan: IngestPlan, result: IngestResult) -> pa.Table:
    """The rows of `rejected_images`, sorted by path."""
    refused = plan.listing.refused.select(REJECTED_IMAGES.names).cast(REJECTED_IMAGES)
    new = [from_stream(batch.rejected) for batch in result.ingested]
    return pa.concat_tables([plan.kept_rejected, refused, *new]).sort_by("path")


def rejected_change(plan: IngestPlan, write: TableWrite, rows: pa.Table, started: float) -> Change:
    """The change of `rejected_images`: replaced if any row changed."""
    digest = hashlib.sha256(to_stream(rows.combine_chunks())).hexdigest()
    before = write.before
    if (
        before is not None
        and before.statistics.digest == digest
        and has_same_source(before, plan.listing, plan.limits)
    ):
        return Change.none(write)
    statistics = RejectedImagesStatistics(
        digest=digest,
        rows=rows.num_rows,
        input=plan.listing.root.uri,
        fingerprint=plan.fingerprint,
        reasons=count_values(rows["reason"]),
    )
    new = [write_file([rows], write.folder, new_name(0), REJECTED_IMAGES)] if rows.num_rows else []
    removed = tuple(file.name for file in before.files) if before else ()
    n_read = plan.to_read.num_rows
    return Change(write, statistics, tuple(new), removed, images=n_read, started=started)


def raw_change(  # noqa: PLR0913, PLR0917 - the inputs of the change
    plan: IngestPlan,
    result: IngestResult,
    write: TableWrite,
    n_rejected: int,
    started: float,
    cores: int = 1,
) -> Change:
    """The change of `raw_images`: new files, and files rewritten without stale rows."""
    statistics = raw_statistics(plan, result, write.before, n_rejected)
    if is_unchanged(plan, result, statistics, write.before):
        return Change.none(write)
    new = result.files
    found = sum(file.rows for file in new) + _kept_rows(plan, write.before)
    if found != statistics.rows:
        raise AuditError(
            f"raw_images: {found:,} rows were written, but {statistics.rows:,} pictures were "
            "accepted. Nothing was committed. Materialize raw_images again."
        )
    accounted = statistics.rows + n_rejected + sum(statistics.ignored.values())
    if accounted != statistics.n_listed:
        raise AuditError(
            f"raw_images: {statistics.n_listed:,} files were listed, but {accounted:,} are "
            "accounted for. Nothing was committed. Materialize raw_images again."
        )
    removed = tuple(file.name for file in plan.removed)
    images = plan.to_read.num_rows
    return Change(write, statistics, tuple(new), removed, "", images, cores, started)


def _kept_rows(plan: IngestPlan, before: Snapshot | None) -> int:
    removed = {file.name for file in plan.removed}
    return sum(file.rows for file in before.files if file.name not in removed) if before else 0


def raw_statistics(
    plan: IngestPlan, result: IngestResult, before: Snapshot | None, n_rejected: int
) -> RawImagesStatistics:
    """The statistics of the new version of `raw_images`."""
    known = before.typed(RawImagesStatistics) if before and not plan.starts_over else None
    digest, rows = 0, 0
    if known is not None and before is not None:
        digest, rows = int(known.digest), before.rows - plan.n_stale
    digest -= plan.removed_digest
    digest += plan.labels.digest - (int(known.labels_digest) if known else 0)
    for batch in result.ingested:
        digest += batch.digest
        rows += batch.written.rows if batch.written else 0
    splits = (batch.splits for batch in result.ingested)
    labels = (batch.labels for batch in result.ingested)
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
        splits=update_counts(known.splits if known else {}, plan.removed_splits, splits),
        labels=update_counts(known.labels if known else {}, plan.removed_labels, labels),
        largest_file=largest,
        n_read=plan.to_read.num_rows,
        labels_digest=str(plan.labels.digest),
        n_corrected=len(plan.labels.by_path),
        n_unknown_corrections=plan.labels.n_unknown,
    )


def is_unchanged(
    plan: IngestPlan,
    result: IngestResult,
    statistics: RawImagesStatistics,
    before: Snapshot | None,
) -> bool:
    """Whether the current version already has this content."""
    written = any(batch.written for batch in result.ingested)
    if before is None or written or plan.removed or plan.starts_over:
        return False
    known = before.typed(RawImagesStatistics)
    return (known.n_listed, known.rejected, known.ignored, known.digest) == (
        statistics.n_listed,
        statistics.rejected,
        statistics.ignored,
        statistics.digest,
    )


def require_separate(source: Location, storage: Location) -> None:
    """Check that neither the input nor the storage folder contains the other.

    Raises:
        InputError: they are the same folder, or one contains the other.
    """
    input_path, storage_path = (_comparable(location) for location in (source, storage))
    if storage_path.startswith(input_path):
        raise InputError(
            f"The storage {storage} is inside the input {source}: stored files would be read "
            "as pictures. Set FRUITS_STORAGE to a folder outside the input."
        )
    if input_path.startswith(storage_path):
        raise InputError(
            f"The input {source} is inside the storage {storage}: clearing the storage could "
            "delete pictures. Move the pictures, or set FRUITS_STORAGE to another folder."
        )


def _comparable(location: Location) -> str:
    """The resolved location with a trailing slash, so that parents are prefixes of children."""
    if location.scheme == "s3":
        return f"s3://{location.path.strip('/')}/"
    return f"{os.path.realpath(location.path).rstrip('/')}/"


def require_few_rejections(
    n_rejected: int,
    listing: Listing,
    max_share: float,
    details: Mapping[str, object] | None = None,
) -> None:
    """Fail if too large a share of the input was rejected.

    With few files, a single broken one is a large share: it is only reported, and the run goes on.

    Raises:
        InputError: the rejected share exceeds `max_share`, or no picture was accepted.
    """
    share = n_rejected / listing.n_pictures
    is_checked = listing.n_pictures >= MIN_FILES_FOR_SHARE
    if n_rejected < listing.n_pictures and not (is_checked and share > max_share):
        return
    files, were = counted(listing.n_pictures, "file"), "was" if n_rejected == 1 else "were"
    text = f"{n_rejected:,} of {files} under {listing.root} {were} rejected"
    if n_rejected == listing.n_pictures:
        raise InputError(
            f"{text}, so there is no picture. The table rejected_images lists the reason for each. "
            "Set FRUITS_INPUT to a folder of pictures.",
            details,
        )
    raise InputError(
        f"{text} "
        f"({share:.1%}); the limit is {max_share:.1%}. The table rejected_images lists the reason "
        "for each. Fix the input, or accept it with "
        f"`uv run fruits run --set ingest.max_rejected_share={math.ceil(share * 100) / 100}`.",
        details,
    )
