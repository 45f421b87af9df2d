"""Reads the records that this project's commits keep in a table's log, file by file.

`DeltaTable.history` is not used: it holds the GIL while it waits for S3, and it numbers versions
by counting down from the latest, even where log files are missing.
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
"""Version of the record's format. Records with a higher number are rejected."""

KEY = "fruits"
"""Key of the record in a commit's metadata."""

_READ_AT_ONCE = 8
"""Commits read concurrently after the latest one, which is all that most callers need."""


class CommitRecord(BaseModel):
    """The record in a commit. The log is permanent, so it contains no personal data."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    id: str = ""
    """Identifies a commit whose response from S3 was lost."""
    run_id: str
    code_version: str = ""
    inputs: dict[str, int] = {}
    """Versions of the input assets."""
    rows: int | None = None
    """Rows of the whole table. If its files have another number, the log was truncated."""
    rows_added: int = 0
    rows_removed: int = 0
    files_added: int = 0
    files_removed: int = 0
    note: str = ""
    """The reason for the commit, for example a refit or an erasure."""
    statistics: dict[str, Any] = {}


class Commit(NamedTuple):
    """A commit of this project."""

    version: int
    committed_at: datetime
    record: CommitRecord


def commits(folder: Location, version: int) -> Iterator[Commit]:
    """This project's commits up to a version, the latest first, back to the log's start.

    Delta's own commits (of a vacuum) do not change rows and are left out.

    Args:
        folder: the table's folder.
        version: the Delta version.

    Raises:
        UnreadableVersionError: a newer release wrote one of the commits.
        ValueError: a commit is damaged.
    """
    for number, content in _contents(folder, version):
        if content is None:
            return
        if (commit := _commit(folder, number, content)) is not None:
            yield commit


def is_untouched(folder: Location, since: int, version: int) -> bool:
    """Whether the commits after a version changed nothing. A vacuum's commits only have a note.

    Args:
        folder: the table's folder.
        since: the earlier Delta version.
        version: the later Delta version.
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
    record = json.loads(info[KEY])
    if record["format"] > FORMAT:
        raise UnreadableVersionError(
            f"{folder}: version {number} has format {record['format']}, but this release "
            f"reads formats up to {FORMAT}. Use the newer release that wrote it."
        )
    at = datetime.fromtimestamp(info["timestamp"] / 1000, UTC)
    return Commit(number, at, CommitRecord.model_validate(record))
