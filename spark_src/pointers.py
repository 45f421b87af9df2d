"""One small JSON file that is replaced whole, and only by who has read what is replaced."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from spark_src.io.aws import client, error_code, explained
from spark_src.io.locations import Location

_MOVED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


class PointerMovedError(Exception):
    """Somebody replaced the file since it was read."""


@dataclass(frozen=True)
class Reading:
    """A file's content and the mark by which a later write knows that it is still the same."""

    content: bytes | None
    """None where there is no file."""
    mark: str | None = None


def read(file: Location) -> Reading:
    """What the file holds now."""
    return _read_s3(file) if file.scheme == "s3" else _read_local(file)


def replace(file: Location, content: bytes, read_before: Reading) -> None:
    """Write the file; its readers see all of the old or all of the new content.

    Raises:
        PointerMovedError: it is not what `read_before` saw any more; nothing was written.
    """
    if file.scheme == "s3":
        return _replace_s3(file, content, read_before)
    path = Path(file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody else between the comparison and the write
        if _read_local(file) != read_before:
            raise PointerMovedError(str(file))
        _write_local(path, content)


def write(file: Location, content: bytes) -> None:
    """Write the file whatever is there; its readers see all of the old or all of the new one."""
    if file.scheme == "s3":
        file.write(content)
    else:
        _write_local(Path(file.path), content)


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)


def _read_local(file: Location) -> Reading:
    try:
        return Reading(file.read())
    except FileNotFoundError:
        return Reading(None)


def _read_s3(file: Location) -> Reading:
    s3 = client("s3")
    bucket, key = file.bucket_and_key
    with explained(f"reading {file}"):
        try:
            answer = s3.get_object(Bucket=bucket, Key=key)
        except s3.exceptions.NoSuchKey:
            return Reading(None)
        return Reading(answer["Body"].read(), answer["ETag"])


def _replace_s3(file: Location, content: bytes, read_before: Reading) -> None:
    s3 = client("s3")
    bucket, key = file.bucket_and_key
    condition = {"IfMatch": read_before.mark} if read_before.mark else {"IfNoneMatch": "*"}
    with explained(f"writing {file}"):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=content, **condition)
        except s3.exceptions.ClientError as error:
            if error_code(error) not in _MOVED:
                raise
            # A try whose answer was lost may have written it before the next one was refused.
            if _read_s3(file).content != content:
                raise PointerMovedError(str(file)) from error
