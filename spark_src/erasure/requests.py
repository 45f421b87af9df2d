"""Requests to forget pictures: kept under the storage until done, each stage safe to repeat.

A request that is done leaves a receipt: counts, hashes and times, and nothing of the person.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from spark_src import feature_parts
from spark_src.contract import FOLDERS, PREFIXES
from spark_src.erasure.rows import (
    SOURCES,
    Target,
    find,
    needles,
    remove_inputs,
    remove_rows,
    require_same_input,
    scan,
)
from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.storage import Storage

_PENDING, _RECEIPT = "pending-", "receipt-"


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, and what has been done of it."""

    file: Location
    target: Target
    name: str
    """Of the request, not of the person."""
    ids: list[str]
    """Of the pictures, as far as a table told."""
    done: dict[str, Any]
    """Counts and times for the receipt."""

    def saved(self) -> Request:
        """The same, kept for who has to complete it."""
        content = {
            "subject": self.target.subject,
            "image_ids": sorted(self.target.image_ids),
            "paths": sorted(self.target.paths),
            "ids": self.ids,
            "done": self.done,
        }
        self.file.write(json.dumps(content).encode())
        return self

    def counted(self, stage: str, started: float, **counts: Any) -> Request:
        """The same with one more stage done; a repeated stage adds to what it had counted."""
        before = self.done.get(stage, {})
        seconds = round(before.get("seconds", 0) + time.monotonic() - started, 2)
        added = {name: before.get(name, 0) + count for name, count in counts.items()}
        return replace(self, done=self.done | {stage: {"seconds": seconds, **added}}).saved()


def add(versions: Storage, source: Location, target: Target) -> None:
    """Keep a request; one that is pending already goes on with what it has done.

    Raises:
        ErasureError: there is no trace of the target, or the tables came from another input.
    """
    asked = (target.subject, target.image_ids)
    if asked in [(known.target.subject, known.target.image_ids) for known in pending(versions)]:
        return
    if find(versions, source, target).nothing:
        whose = " ".join([target.subject or "", *sorted(target.image_ids)]).strip()
        raise ErasureError(
            f"There is no trace of {whose}: no file under {source}, no row under {versions.root}. "
            "Is it written as the folder is? What was erased before has its receipt."
        )
    folder, name = versions.root / FOLDERS["erasures"], uuid.uuid4().hex
    folder.make_folder()
    begun = {"begun": datetime.now(UTC).isoformat(timespec="seconds")}
    file = folder / f"{_PENDING}{name}.json"
    Request(file, target, name, sorted(target.image_ids), begun).saved()


def pending(versions: Storage) -> Iterator[Request]:
    """Every request that is not done."""
    folder = versions.root / FOLDERS["erasures"]
    for info in folder.files():
        if not info.base_name.startswith(_PENDING):
            continue
        file = Location(folder.scheme, info.path)
        kept = json.loads(file.read())
        ids, paths = frozenset(kept["image_ids"]), frozenset(kept["paths"])
        name = info.base_name.removeprefix(_PENDING).removesuffix(".json")
        target = Target(kept["subject"], ids, paths)
        yield Request(file, target, name, kept["ids"], kept["done"])


def receipts(versions: Storage, names: list[str]) -> list[Location]:
    """The receipts of requests that are done."""
    folder = versions.root / FOLDERS["erasures"]
    return [
        Location(folder.scheme, info.path)
        for info in folder.files()
        if info.base_name.startswith(_RECEIPT)
        and info.base_name.endswith(tuple(f"-{name}.json" for name in names))
    ]


def erase_inputs(versions: Storage, source: Location, request: Request) -> int:
    """Note which pictures are meant, then delete them under the input with all their versions."""
    started = time.monotonic()
    found = find(versions, source, request.target)
    target = replace(request.target, paths=request.target.paths | set(found.inputs))
    ids = sorted({*request.ids, *found.image_ids})
    request = replace(request, target=target, ids=ids).saved()
    removed = remove_inputs(source, sorted(target.paths), target.prefix)
    request.counted("inputs", started, files=removed)
    return removed


def erase_rows(spark: SparkSession, versions: Storage, request: Request) -> dict[str, int]:
    """Take the rows out of the tables of pictures."""
    started = time.monotonic()
    rows = {asset: remove_rows(spark, versions, asset, request.target) for asset in SOURCES}
    request.counted("rows", started, **rows)
    return rows


def prove(versions: Storage, source: Location, request: Request) -> Location:
    """Delete what else may hold something, look into every file, and write the receipt.

    Raises:
        ErasureError: something of the target is still there; the message names the files.
    """
    require_same_input(versions, source)
    started = time.monotonic()
    purged = _purge(versions)
    sought = needles(versions, request.target, request.ids)
    found = scan([versions.root, source], sought, skip=request.file)
    if found.hits:
        raise ErasureError(
            f"{len(found.hits)} files still hold something of request {request.name}: "
            f"{', '.join(found.hits[:5])}. See that no other run is under way, and call again."
        )
    looked = {"files": found.files, "bytes": found.bytes, "hits": len(found.hits)}
    request = request.counted("proof", started, purged_versions=purged)
    receipt = (
        request.file.parent / f"{_RECEIPT}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{request.name}.json"
    )
    receipt.write(json.dumps(_receipt(versions, request, looked), indent=2).encode())
    object_versions.delete(request.file)
    return receipt


def _purge(versions: Storage) -> int:
    """Earlier versions of tables, resume state, what travelled to a cluster, earlier objects."""
    for asset in PREFIXES:
        version = versions.find(asset)
        if version is not None:
            versions.amend(version, version.facts)
    (versions.prefix("mobilenet_features") / feature_parts.FOLDER).delete_folder()
    staging = versions.root / FOLDERS["staging"]
    for folder in {
        file.path.removeprefix(f"{staging.path}/").split("/")[0] for file in staging.files()
    }:
        if folder != "code":
            (staging / folder).delete_folder()
    return object_versions.delete_earlier(versions.root)


def _receipt(versions: Storage, request: Request, looked: dict[str, int]) -> dict[str, Any]:
    current = {asset: versions.find(asset) for asset in PREFIXES}
    return {
        "format": 1,
        "request": request.name,
        "pictures": len(request.ids),
        **request.done,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "scan": looked,
        "left": {
            asset: {
                "version": version.name,
                "rows": version.facts.get("rows"),
                "digest": version.facts.get("digest"),
            }
            for asset, version in current.items()
            if version
        },
    }
