"""What the commits in a table's log say of themselves: read here, file by file.

delta-rs has a `history`, but it keeps Python's lock while it waits for S3, and it counts versions
down from the latest, whatever files are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location

FORMAT = 2
"""Of what a commit says of itself. Code refuses a higher number than it knows."""

KEY = "fruits"
"""Under which a commit holds what this project says of it."""

_READ_AT_ONCE = 8
"""Commits that are read together, after the latest: most callers need no other."""


class CommitRecord(BaseModel):
    """What a commit says: kept in the log for good, so nothing in it is personal."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    id: str = ""
    """Of the commit: one whose answer from S3 was lost is known by it."""
    run_id: str
    code_version: str = ""
    inputs: dict[str, int] = {}
    """Versions of the assets that it was made from."""
    rows: int | None = None
    """Of the whole table, by its files. Where they differ, the log was cut off."""
    rows_added: int = 0
    rows_removed: int = 0
    files_added: int = 0
    files_removed: int = 0
    note: str = ""
    """Why, where there is a reason to give: a refit, an erasure."""
    statistics: dict[str, Any] = {}


class Commit(NamedTuple):
    """A commit of this project."""

    version: int
    committed_at: datetime
    record: CommitRecord


def commits(folder: Location, version: int) -> Iterator[Commit]:
    """Our commits up to a version, the latest first, as far back as the log goes.

    Delta's own (of vacuum) say nothing of the rows, and are left out.

    Args:
        folder: of the table.
        version: Delta's.

    Raises:
        UnreadableVersionError: newer code wrote one.
        ValueError: one is damaged.
    """
    for number, content in _contents(folder, version):
        if content is None:
            return
        if (commit := _commit(folder, number, content)) is not None:
            yield commit


def is_untouched(folder: Location, since: int, version: int) -> bool:
    """Whether commits after a version changed nothing: those of a vacuum only note that it was.

    Args:
        folder: of the table.
        since: Delta's version.
        version: Delta's later one.
    """
    contents = islice(_contents(folder, version), version - since)
    return version >= since and all(
        content is not None and all(map(_is_note, content.splitlines())) for _, content in contents
    )


def _is_note(line: bytes) -> bool:
    return not line.strip() or json.loads(line).keys() <= {"commitInfo"}


def _contents(folder: Location, version: int) -> Iterator[tuple[int, bytes | None]]:
    read = _reader(folder)
    yield version, read(version)
    rest = range(version - 1, -1, -1)
    with ThreadPoolExecutor(_READ_AT_ONCE, "log") as pool:
        for start in range(0, len(rest), _READ_AT_ONCE):
            share = rest[start : start + _READ_AT_ONCE]
            yield from zip(share, pool.map(read, share), strict=True)


def _reader(folder: Location) -> Callable[[int], bytes | None]:
    def read(number: int) -> bytes | None:
        try:
            return (folder / "_delta_log" / f"{number:020}.json").read()
        except FileNotFoundError:
            return None

    return read


def _commit(folder: Location, number: int, content: bytes) -> Commit | None:
    actions = (json.loads(line) for line in content.splitlines() if b'"commitInfo"' in line)
    found = (action["commitInfo"] for action in actions if "commitInfo" in action)
    info: dict[str, Any] = next(found, {})
    if KEY not in info:
        return None
    said = json.loads(info[KEY])
    if said["format"] > FORMAT:
        raise UnreadableVersionError(
            f"{folder}: version {number} has format {said['format']}, this code knows up to "
            f"{FORMAT}. Use the newer release of this project that wrote it."
        )
    at = datetime.fromtimestamp(info["timestamp"] / 1000, UTC)
    return Commit(number, at, CommitRecord.model_validate(said))
