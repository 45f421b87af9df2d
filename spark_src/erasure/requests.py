"""Erasure requests: stored until they are completed. Each stage can be repeated safely.

A completed request leaves a receipt with counts, hashes and times, but no personal data.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from spark_src.contract import FOLDERS
from spark_src.erasure import inputs, rows
from spark_src.erasure.label_rows import remove_labels
from spark_src.erasure.lookup import (
    PENDING,
    Found,
    find,
    pending_prefix,
    require_single_owners,
    require_trace,
)
from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import Scan
from spark_src.erasure.stored_request import read_request
from spark_src.erasure.target import Target, require_plain_paths
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import write_whole

RECEIPT = "receipt-"


@dataclass(frozen=True)
class Request:
    """The target of an erasure and its progress."""

    file: Location
    target: Target
    name: str
    """Name of the request, not of the person."""
    image_ids: frozenset[str]
    """Ids of the target's pictures found in a table."""
    done: dict[str, Any]
    """Counts and times for the receipt, by stage."""

    def save(self) -> Request:
        """Store the request until it is completed."""
        content = {
            "subject": self.target.subject,
            "image_ids": sorted(self.target.image_ids),
            "all_owners": self.target.all_owners,
            "paths": sorted(self.target.paths),
            "known_image_ids": sorted(self.image_ids),
            "done": self.done,
        }
        write_whole(self.file, json.dumps(content).encode())
        return self

    def record_stage(self, stage: str, started: float, **counts: int) -> Request:
        """Record a completed stage. The counts of a repeated stage are added up."""
        before = self.done.get(stage, {})
        seconds = round(before.get("seconds", 0) + time.monotonic() - started, 2)
        added = {name: before.get(name, 0) + count for name, count in counts.items()}
        return replace(self, done=self.done | {stage: {"seconds": seconds, **added}}).save()


def look_up(
    tables: Tables,
    source: Location,
    target: Target,
    records: Callable[[Needles], Scan] | None = None,
) -> Found:
    """Find a target's data, to confirm before erasing it.

    Args:
        tables: the storage.
        source: the input.
        target: the person or pictures.
        records: scans Dagster's own records.

    Raises:
        ErasureError: no data was found, or only data of a similar name, or a picture selected by
            its id has several owners.
    """
    found = find(tables, source, target, records=records)
    require_single_owners(found, target)
    require_trace(found, target, tables, source)
    return found


def add(tables: Tables, source: Location, target: Target, found: Found | None = None) -> None:
    """Store a request. An identical pending request keeps its progress.

    Args:
        tables: the storage.
        source: the input.
        target: the person or pictures.
        found: the result of `look_up`, if already called.

    Raises:
        ErasureError: see `look_up`; or the tables were built from another input.
    """
    if is_pending(tables, target):
        return
    if found is None:
        look_up(tables, source, target)
    store(tables, target)


def store(tables: Tables, target: Target) -> None:
    """Store a request whose target is known to exist."""
    folder, name = tables.root / FOLDERS["erasures"], uuid.uuid4().hex
    begun = {"begun": datetime.now(UTC).isoformat(timespec="seconds")}
    Request(folder / f"{PENDING}{name}.json", target, name, target.image_ids, begun).save()


def is_pending(tables: Tables, target: Target) -> bool:
    """Whether an identical request is pending."""
    requested = replace(target, paths=frozenset())
    return any(replace(known.target, paths=frozenset()) == requested for known in pending(tables))


def pending(tables: Tables) -> list[Request]:
    """All readable pending requests. For unreadable ones, see `require_all_done`."""
    return [found for found in _read_all(tables) if isinstance(found, Request)]


def require_pending(tables: Tables) -> None:
    """Check that a request is pending.

    Raises:
        ErasureError: no request is pending, or none can be read.
    """
    if not pending(tables):
        require_all_done(tables)
        raise ErasureError("No request is pending: give --subject ID or --image-id ID.")


def require_all_done(tables: Tables, failures: Sequence[str] = ()) -> None:
    """Report all incomplete requests after the others have been processed.

    Args:
        tables: the storage.
        failures: messages of the failures so far.

    Raises:
        ErasureError: a request is not completed, cannot be read, or has paths outside the input.
    """
    found = list(_read_all(tables))
    broken = [*failures, *(str(error) for error in found if isinstance(error, ErasureError))]
    names = [request.name for request in found if isinstance(request, Request)]
    if names:
        broken.append(
            f"Not completed: request {', '.join(names)}. See the run's log for the cause, fix it, "
            "and run `fruits erase` again."
        )
    if broken:
        raise ErasureError(" ".join(broken))


def receipts(tables: Tables, names: list[str]) -> list[Location]:
    """The receipts of completed requests."""
    folder = tables.root / FOLDERS["erasures"]
    return [
        Location(folder.scheme, info.path)
        for info in folder.files()
        if info.base_name.startswith(RECEIPT)
        and info.base_name.endswith(tuple(f"-{name}.json" for name in names))
    ]


def erase_inputs(tables: Tables, source: Location, request: Request) -> int:
    """Record the target's pictures, then delete them from the input with all object versions.

    Their rows in `labels.csv` are removed as well.

    Raises:
        ErasureError: a picture has several owners, or a file cannot be deleted.
    """
    started = time.monotonic()
    found = find(tables, source, request.target, request.image_ids)
    require_single_owners(found, request.target)
    target = replace(request.target, paths=found.paths)
    counts = {
        "pictures": len(found.image_ids),
        "pictures_of_others_too": found.shared,
        "similar_names": len(found.similar),
        "same_name_elsewhere": len(found.elsewhere),
    }
    request = replace(
        request, target=target, image_ids=found.image_ids, done=request.done | counts
    ).save()
    removed = inputs.remove_inputs(source, target)
    labels = remove_labels(source, target)
    request.record_stage("inputs", started, files=removed, labels=labels)
    return removed


def erase_rows(
    spark: Callable[[], SparkSession], tables: Tables, request: Request, run_id: str
) -> dict[str, int]:
    """Remove the target's rows from the tables of pictures."""
    started = time.monotonic()
    removed = rows.remove_rows(spark, tables, request.target, run_id)
    request.record_stage("rows", started, **removed)
    return removed


def _read_all(tables: Tables) -> Iterator[Request | ErasureError]:
    prefix = pending_prefix(tables)
    for info in prefix.parent.files():
        if not info.base_name.startswith(PENDING):
            continue
        try:
            yield _read(Location(prefix.scheme, info.path))
        except ErasureError as error:
            yield error


def _read(file: Location) -> Request:
    stored = read_request(file)
    target = Target.from_names(stored.subject, stored.image_ids, stored.all_owners)
    target = replace(target, paths=frozenset(stored.paths))
    if file.scheme == "file":
        require_plain_paths(target.paths)
    name, ids = file.name[len(PENDING) : -len(".json")], frozenset(stored.known_image_ids)
    return Request(file, target, name, ids, stored.stages)
