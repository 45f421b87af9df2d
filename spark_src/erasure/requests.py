"""Requests to erase: kept under the storage until they are done, each stage safe to repeat.

A request that is done leaves a receipt: counts, hashes and times, and nothing of the person.
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
from spark_src.erasure.target import Target, require_plain_paths
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import write_whole

RECEIPT = "receipt-"


@dataclass(frozen=True)
class Request:
    """What is to be erased, and what has been done of it."""

    file: Location
    target: Target
    name: str
    """Of the request, not of the person."""
    image_ids: frozenset[str]
    """Of the pictures, as far as a table has them."""
    done: dict[str, Any]
    """Counts and times for the receipt, by stage."""

    def saved(self) -> Request:
        """The same, kept until it is completed."""
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

    def counted(self, stage: str, started: float, **counts: int) -> Request:
        """The same with one more stage done; a repeated stage adds to what it had counted."""
        before = self.done.get(stage, {})
        seconds = round(before.get("seconds", 0) + time.monotonic() - started, 2)
        added = {name: before.get(name, 0) + count for name, count in counts.items()}
        return replace(self, done=self.done | {stage: {"seconds": seconds, **added}}).saved()


def look_up(
    tables: Tables,
    source: Location,
    target: Target,
    records: Callable[[Needles], Scan] | None = None,
) -> Found:
    """What there is of a target, for who is asked whether to erase it.

    Args:
        tables: the storage.
        source: the input.
        target: whose data.
        records: scans Dagster's own records.

    Raises:
        ErasureError: there is no trace, only of a name that is nearly the same, or a picture that
            was named by its id has several owners.
    """
    found = find(tables, source, target, records=records)
    require_single_owners(found, target)
    require_trace(found, target, tables, source)
    return found


def add(tables: Tables, source: Location, target: Target, found: Found | None = None) -> None:
    """Keep a request; one that is pending already goes on with what it has done.

    Args:
        tables: the storage.
        source: the input.
        target: whose data.
        found: what `look_up` gave, where it was called already.

    Raises:
        ErasureError: see `look_up`; or the tables came from another input.
    """
    if is_pending(tables, target):
        return
    if found is None:
        look_up(tables, source, target)
    keep(tables, target)


def keep(tables: Tables, target: Target) -> None:
    """Keep a request whose target is known to be there."""
    folder, name = tables.root / FOLDERS["erasures"], uuid.uuid4().hex
    begun = {"begun": datetime.now(UTC).isoformat(timespec="seconds")}
    Request(folder / f"{PENDING}{name}.json", target, name, target.image_ids, begun).saved()


def is_pending(tables: Tables, target: Target) -> bool:
    """Whether the same was asked for before, and is not done."""
    asked = replace(target, paths=frozenset())
    return any(replace(known.target, paths=frozenset()) == asked for known in pending(tables))


def pending(tables: Tables) -> list[Request]:
    """Every request that is not done and can be read: see `require_all_done` for the others."""
    return [found for found in _stored(tables) if isinstance(found, Request)]


def require_some(tables: Tables) -> None:
    """See that there is a request.

    Raises:
        ErasureError: none is pending, or those that are cannot be read.
    """
    if not pending(tables):
        require_all_done(tables)
        raise ErasureError("Nothing is pending: give --subject ID or --image-id ID.")


def require_all_done(tables: Tables, failures: Sequence[str] = ()) -> None:
    """Say what is left of the requests, so that one does not hold up the others.

    Args:
        tables: the storage.
        failures: what is known of why.

    Raises:
        ErasureError: a request is not done, cannot be read, or names something outside the input.
    """
    found = list(_stored(tables))
    broken = [*failures, *(str(error) for error in found if isinstance(error, ErasureError))]
    names = [request.name for request in found if isinstance(request, Request)]
    if names:
        broken.append(
            f"Not done: request {', '.join(names)}; the run's log says why. Run `fruits erase` "
            "again once that is fixed."
        )
    if broken:
        raise ErasureError(" ".join(broken))


def receipts(tables: Tables, names: list[str]) -> list[Location]:
    """The receipts of requests that are done."""
    folder = tables.root / FOLDERS["erasures"]
    return [
        Location(folder.scheme, info.path)
        for info in folder.files()
        if info.base_name.startswith(RECEIPT)
        and info.base_name.endswith(tuple(f"-{name}.json" for name in names))
    ]


def erase_inputs(tables: Tables, source: Location, request: Request) -> int:
    """Note which pictures are meant, then delete them under the input with all their versions.

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
    ).saved()
    removed = inputs.remove_inputs(source, target)
    request.counted("inputs", started, files=removed)
    return removed


def erase_rows(
    spark: Callable[[], SparkSession], tables: Tables, request: Request, run_id: str
) -> dict[str, int]:
    """Take the rows out of the tables of pictures."""
    started = time.monotonic()
    removed = rows.remove_rows(spark, tables, request.target, run_id)
    request.counted("rows", started, **removed)
    return removed


def _stored(tables: Tables) -> Iterator[Request | ErasureError]:
    prefix = pending_prefix(tables)
    for info in prefix.parent.files():
        if not info.base_name.startswith(PENDING):
            continue
        try:
            yield _read(Location(prefix.scheme, info.path))
        except ErasureError as error:
            yield error


def _read(file: Location) -> Request:
    try:
        kept = json.loads(file.read())
        target = Target.from_names(kept["subject"], kept["image_ids"], kept["all_owners"])
        target = replace(target, paths=frozenset(kept["paths"]))
        ids, done = frozenset(kept["known_image_ids"]), kept["done"]
        if file.scheme == "file":
            require_plain_paths(target.paths)
    except (ValueError, KeyError, TypeError) as error:
        raise ErasureError(
            f"{file} is no request that can be read ({error!r}). Was it edited? Delete it, and ask "
            "again with `fruits erase`."
        ) from error
    return Request(file, target, file.name[len(PENDING) : -len(".json")], ids, done)
