"""Completes an erasure: scans every file and writes a receipt without personal data."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from spark_src.tables.registry import RAW_IMAGES

_SHOWN = 5


@dataclass(frozen=True)
class ProofScan:
    """Results of scanning all files and records."""

    stored: Scan
    supplied: Scan
    """Files of the input."""
    recorded: Scan
    """Dagster's records."""
    earlier: int
    """Number of earlier object versions and incomplete uploads."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the targets was found, and all but the input could be read."""
        found = (self.stored, self.supplied, self.recorded)
        unreadable = self.stored.unreadable or self.recorded.unreadable
        return not (self.earlier or unreadable or any(scan.n_hits for scan in found))


Records = Callable[[Needles], Scan]
"""Scans Dagster's own records."""


def needles_of(tables: Tables, source: Location, pending: Iterable[Request]) -> dict[str, Needles]:
    """Search terms that must not be found after the rows are removed, by request name."""
    others = people(tables, source)
    return {
        request.name: Needles.from_target(
            request.target, source, _own_image_ids(tables, request), others
        )
        for request in pending
    }


def scan_all(
    tables: Tables, source: Location, needles: Needles, records: Records | None = None
) -> ProofScan:
    """Scan every file for the needles of one or several requests."""
    return ProofScan(
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
    found: ProofScan | None = None,
) -> Location:
    """Verify that nothing is left, add the target to the erasure list, and write the receipt.

    Args:
        tables: the storage, after `purge`.
        source: the input.
        request: the request to complete.
        counts: further counts for the receipt, of `purge` and Dagster's records.
        found: a scan of every file after all other steps. By default, it is run here.

    Raises:
        ErasureError: data of the target is left. The message lists files only if their names do
            not identify the person.
    """
    require_same_input(tables, source)
    started = time.monotonic()
    if found is None:
        found = scan_all(tables, source, needles_of(tables, source, [request])[request.name])
    _require_readable(found.stored + found.recorded)
    if not found.is_clean:
        raise ErasureError(_left_over(found, request))
    erased.record(tables, request.name, request.target)
    request = request.record_stage("proof", started, **(counts or {}))
    now = datetime.now(UTC)
    receipt = request.file.parent / f"{RECEIPT}{now:%Y%m%dT%H%M%SZ}-{request.name}.json"
    content = _receipt(tables, request, found.stored + found.supplied + found.recorded)
    # Never overwritten: the role has no permission, and the bucket policy denies it.
    receipt.create(json.dumps(content, indent=2).encode())
    object_versions.delete(request.file)
    return receipt


def _own_image_ids(tables: Tables, request: Request) -> set[str]:
    """Ids that must not be found. Pictures also supplied by other people stay in their rows."""
    raw = tables.find(RAW_IMAGES)
    if raw is None or not raw.files:
        return set(request.image_ids)
    others = read_columns(raw.locations, ["image_id"])["image_id"]
    return set(request.image_ids) - set(rows.intersect(others, request.image_ids))


def _require_readable(found: Scan) -> None:
    if found.unreadable:
        raise ErasureError(
            f"{len(found.unreadable)} files or folders of the storage or of Dagster's records "
            f"cannot be opened, so their contents are unknown: {_join_names(found.unreadable)}. "
            "Grant this user read permission, or delete them, and run `fruits erase` again."
        )


def _left_over(found: ProofScan, request: Request) -> str:
    """The error message. File names that may identify a person are only counted."""
    parts = [f"Data of request {request.name} is left:"]
    hits = tuple(dict.fromkeys(found.stored.hits + found.recorded.hits))
    if hits:
        parts.append(f"in {_join_names(hits)}")
    for count, where in (
        (found.stored.named_hits, "under the storage in {} of the names"),
        (found.supplied.n_hits, "under the input in {} of the files or names"),
        (found.recorded.named_hits, "in {} of the names of Dagster's files"),
        (found.earlier, "in {} of the objects' earlier versions or incomplete uploads"),
    ):
        if count:
            parts.append(where.format(count))
    return (
        f"{parts[0]} {'; '.join(parts[1:])}. Delete files that no asset has written, make sure "
        "that no run is in progress, and run `fruits erase` again."
    )


def _join_names(files: Sequence[str]) -> str:
    more = len(files) - _SHOWN
    return ", ".join(files[:_SHOWN]) + f" and {more} more" * (more > 0)


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
