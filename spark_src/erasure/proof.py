"""The end of an erasure: a scan of every file, and a receipt that says nothing of the person."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spark_src.contract import PREFIXES
from spark_src.erasure import erased, rows
from spark_src.erasure.lookup import pending_prefix, require_same_input
from spark_src.erasure.needles import Needles
from spark_src.erasure.people import people
from spark_src.erasure.requests import RECEIPT, Request
from spark_src.erasure.scan import Scan, earlier_versions, scan
from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns

_SHOWN = 5


@dataclass(frozen=True)
class Look:
    """What the scan of every file found."""

    stored: Scan
    supplied: Scan
    """Under the input."""
    recorded: Scan
    """In Dagster's records."""
    earlier: int
    """Earlier versions of objects, and incomplete uploads."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing of the targets, and nothing that could not be told."""
        found = (self.stored, self.supplied, self.recorded)
        return not (self.earlier or self.stored.unreadable or any(scan.n_hits for scan in found))


Records = Callable[[Needles], Scan]
"""Scans Dagster's own records."""


def needles_of(tables: Tables, source: Location, pending: Iterable[Request]) -> dict[str, Needles]:
    """What must not be found any more once the rows are gone, by the request's name."""
    others = people(tables, source)
    return {
        request.name: Needles.from_target(
            request.target, source, _own_image_ids(tables, request), others
        )
        for request in pending
    }


def look(
    tables: Tables, source: Location, needles: Needles, records: Records | None = None
) -> Look:
    """Scan every file; of one request or of several at once."""
    return Look(
        stored=scan(tables.root, needles, pending_prefix(tables)),
        supplied=scan(source, needles, pending_prefix(tables)),
        recorded=records(needles) if records else Scan(),
        earlier=earlier_versions(tables.root) + earlier_versions(source, needles),
    )


def prove(
    tables: Tables,
    source: Location,
    request: Request,
    counts: Mapping[str, int] | None = None,
    found: Look | None = None,
) -> Location:
    """See that nothing is left, add the target to the list of what was erased, write the receipt.

    Args:
        tables: the storage, after `purge`.
        source: the input.
        request: what was to be erased.
        counts: what was deleted besides, for the receipt: by `purge`, in Dagster's records.
        found: a scan of every file, after all else; by default it is made here.

    Raises:
        ErasureError: something of the target is still there; the message names files where their
            names are not the person's.
    """
    require_same_input(tables, source)
    started = time.monotonic()
    if found is None:
        found = look(tables, source, needles_of(tables, source, [request])[request.name])
    _require_readable(found.stored, tables)
    if not found.is_clean:
        raise ErasureError(_left_over(found, request))
    erased.note(tables, request.name, request.target)
    request = request.counted("proof", started, **(counts or {}))
    now = datetime.now(UTC)
    receipt = request.file.parent / f"{RECEIPT}{now:%Y%m%dT%H%M%SZ}-{request.name}.json"
    content = _receipt(tables, request, found.stored + found.supplied + found.recorded)
    # Never over another one: the role that erases may not, and the bucket refuses it.
    receipt.create(json.dumps(content, indent=2).encode())
    object_versions.delete(request.file)
    return receipt


def _own_image_ids(tables: Tables, request: Request) -> set[str]:
    """Ids that must be gone: a picture that somebody else supplied, too, stays in their rows."""
    raw = tables.find("raw_images")
    if raw is None or not raw.files:
        return set(request.image_ids)
    others = read_columns(raw.locations, ["image_id"])["image_id"]
    return set(request.image_ids) - set(rows.among(others, request.image_ids))


def _require_readable(found: Scan, tables: Tables) -> None:
    if found.unreadable:
        raise ErasureError(
            f"{len(found.unreadable)} files or folders under {tables.root} cannot be opened, so "
            f"what is in them is unknown: {', '.join(found.unreadable[:_SHOWN])}. Give this "
            "user the right to read them, or delete them, and call again."
        )


def _left_over(found: Look, request: Request) -> str:
    """What is still there; names that can be somebody's are counted, for messages are kept."""
    parts = [f"Something of request {request.name} is still there:"]
    if found.stored.hits:
        more = len(found.stored.hits) - _SHOWN
        parts.append(
            f"in {', '.join(found.stored.hits[:_SHOWN])}" + f" and {more} more" * (more > 0)
        )
    for count, where in (
        (found.stored.named_hits, "under the storage in {} of the names"),
        (found.supplied.n_hits, "under the input in {} of the files or names"),
        (found.recorded.n_hits, "in {} of Dagster's records"),
        (found.earlier, "in {} of the objects' earlier versions or incomplete uploads"),
    ):
        if count:
            parts.append(where.format(count))
    return (
        f"{parts[0]} {'; '.join(parts[1:])}. Delete what no asset has made, see that no run is "
        "under way, and run `fruits erase` again."
    )


def _receipt(tables: Tables, request: Request, found: Scan) -> dict[str, Any]:
    current = {asset: tables.find(asset) for asset in PREFIXES}
    return {
        "format": 2,
        "request": request.name,
        **request.done,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "scan": {
            "files": found.files,
            "bytes": found.bytes,
            "hits": found.n_hits,
            "not_decoded": found.undecoded,
            "not_readable_in_input": len(found.unreadable),
        },
        "left": {
            asset: {
                "version": snapshot.version,
                "rows": snapshot.statistics.rows,
                "digest": snapshot.statistics.digest,
            }
            for asset, snapshot in current.items()
            if snapshot
        },
    }
