"""The end of an erasure: a look into every file, and a receipt that says nothing of the person."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from spark_src.contract import PREFIXES
from spark_src.erasure import rows
from spark_src.erasure.lookup import pending_prefix, require_same_input
from spark_src.erasure.requests import RECEIPT, Request
from spark_src.erasure.scan import Needles, Scan, earlier_versions, scan
from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns

_SHOWN = 5


def prove(tables: Tables, source: Location, request: Request, purged_files: int = 0) -> Location:
    """Look into every file for what has to be gone, and write the receipt.

    Args:
        tables: the storage, after `purge`.
        source: the input.
        request: what was to be erased.
        purged_files: how many files `purge` deleted.

    Raises:
        ErasureError: something of the target is still there; the message names files where their
            names are not the person's.
    """
    require_same_input(tables, source)
    started = time.monotonic()
    needles = Needles.from_target(request.target, source, _own_image_ids(tables, request))
    stored = scan(tables.root, needles, pending_prefix(tables))
    _require_readable(stored, tables)
    supplied = scan(source, needles, pending_prefix(tables))
    earlier = earlier_versions(tables.root) + earlier_versions(source, needles)
    if stored.n_hits or supplied.n_hits or earlier:
        raise ErasureError(_left_over(stored, supplied, earlier, request))
    request = request.counted("proof", started, purged_files=purged_files)
    now = datetime.now(UTC)
    receipt = request.file.parent / f"{RECEIPT}{now:%Y%m%dT%H%M%SZ}-{request.name}.json"
    # Never over another one: the role that erases may not, and the bucket refuses it.
    receipt.create(json.dumps(_receipt(tables, request, stored + supplied), indent=2).encode())
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


def _left_over(stored: Scan, supplied: Scan, earlier: int, request: Request) -> str:
    """What is still there; names that can be somebody's are counted, for messages are kept."""
    parts = [f"Something of request {request.name} is still there:"]
    if stored.hits:
        more = len(stored.hits) - _SHOWN
        parts.append(f"in {', '.join(stored.hits[:_SHOWN])}" + f" and {more} more" * (more > 0))
    for count, where in (
        (stored.named_hits, "under the storage in {} of the names"),
        (supplied.n_hits, "under the input in {} of the files or names"),
        (earlier, "in {} of the objects' earlier versions"),
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
