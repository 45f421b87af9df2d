"""Everything below a folder, whatever its name is; no link is followed, in no operation."""

from __future__ import annotations

import io
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from spark_src.errors import AwsError, ErasureError
from spark_src.images.listing import text_of
from spark_src.io import object_versions
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

_BYTES_AT_ONCE = 8 * 2**20
"""Of an object in S3 that is fetched in one call."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Kind(Enum):
    """What lies there."""

    FILE = "file"
    FOLDER = "folder"
    CLOSED = "folder that cannot be opened"
    OTHER = "link, pipe or device"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below a folder."""

    root: Location
    path: str
    """Relative to the root, as the tables write it: see `text_of`."""
    raw: bytes
    """The same as it is."""
    kind: Kind
    size: int = 0
    changed: float = 0.0
    """When its content, name or place last changed: seconds since 1970, by the storage's clock."""

    @property
    def location(self) -> Location:
        """Where it is, as messages name it."""
        return self.root / self.path

    def open(self) -> BinaryIO:
        """Its content.

        Raises:
            FileNotFoundError: it is gone.
            OSError: it cannot be opened.
            AwsError: S3 refused.
        """
        if self.root.scheme == "s3":
            return _open_object(self.location, self.size)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.fdopen(os.open(_below(self.root, self.raw), flags), "rb")

    def delete(self) -> None:
        """Delete it, in S3 with every version; a link, not what it leads to.

        Raises:
            ErasureError: it cannot be deleted.
        """
        if self.root.scheme == "s3":
            object_versions.delete(self.location)
            return
        *folders, name = self.raw.split(b"/")
        with _deleting(self.root), _open_folder(self.root, folders) as parent:
            os.unlink(name, dir_fd=parent)


def walk(root: Location) -> Iterator[Entry]:
    """Everything below a folder, folders first; in S3 only objects. Nothing where it is missing."""
    return _walk_s3(root) if root.scheme == "s3" else _walk_local(root)


def delete_tree(root: Location, folders: Sequence[bytes]) -> int:
    """Delete a folder below the root with all that is in it; return how many files there were.

    What lies deep is moved up first: no depth is too great, and no path gets too long.

    Raises:
        ErasureError: something in it cannot be deleted.
    """
    removed = 0
    *parents, name = folders
    with _deleting(root), _open_folder(root, parents) as parent:
        with _open_folder_in(parent, name) as top:
            while names := os.listdir(top):
                for child in names:
                    if not _is_folder(child, top):
                        os.unlink(child, dir_fd=top)
                        removed += 1
                        continue
                    with _open_folder_in(top, child) as inner:
                        for below in os.listdir(inner):
                            os.rename(below, uuid.uuid4().hex, src_dir_fd=inner, dst_dir_fd=top)
                    os.rmdir(child, dir_fd=top)
        os.rmdir(name, dir_fd=parent)
    return removed


def _walk_local(root: Location) -> Iterator[Entry]:
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(_below(root, folder)) as entries:
                found = list(entries)
        except OSError:
            if folder:
                yield Entry(root, text_of(folder), folder, Kind.CLOSED)
            continue
        for entry in found:
            raw = folder + b"/" + entry.name if folder else entry.name
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                yield Entry(root, text_of(raw), raw, Kind.OTHER)
                continue
            kind = _kind(status.st_mode)
            if kind is Kind.FOLDER:
                folders.append(raw)
            yield Entry(root, text_of(raw), raw, kind, status.st_size, status.st_ctime)


def _kind(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER


def _walk_s3(root: Location) -> Iterator[Entry]:
    bucket, key = root.bucket_and_key
    prefix = f"{key.rstrip('/')}/" if key else ""
    with aws_errors(f"listing {root}"):
        pages = client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                path = item["Key"][len(prefix) :]
                changed = item["LastModified"].timestamp()
                yield Entry(root, path, path.encode(), Kind.FILE, item["Size"], changed)


def _open_object(location: Location, size: int) -> BinaryIO:
    """An object; of a large one only what is read is fetched."""
    bucket, key = location.bucket_and_key
    try:
        with aws_errors(f"reading {location}"):
            if size > _BYTES_AT_ONCE and "//" not in f"{key}/":
                found: BinaryIO = location.filesystem.open_input_file(location.path)
                return found
            return io.BytesIO(client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    except AwsError as error:
        if error.code in {"NoSuchKey", "404"}:
            raise FileNotFoundError(str(location)) from error
        raise


def _below(root: Location, raw: bytes) -> bytes:
    return os.path.join(os.fsencode(root.path), raw) if raw else os.fsencode(root.path)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


@contextmanager
def _open_folder(root: Location, names: Sequence[bytes]) -> Iterator[int]:
    """A folder below the root, reached step by step: a link on the way is an error."""
    found = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            inner = os.open(name, _FOLDER, dir_fd=found)
            os.close(found)
            found = inner
        yield found
    finally:
        os.close(found)


@contextmanager
def _open_folder_in(parent: int, name: str | bytes) -> Iterator[int]:
    found = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield found
    finally:
        os.close(found)


@contextmanager
def _deleting(root: Location) -> Iterator[None]:
    """Say what hinders without naming a file: its name can be a person's."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise ErasureError(
            f"A file under {root} cannot be deleted ({error.strerror}). Give this user the right "
            "to change the folders there, put no links or mounts in them, and call again: what is "
            "done stays done."
        ) from error
