"""Walks, reads and deletes files below a folder. Links are never followed."""

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
from spark_src.images.names import text_of
from spark_src.io import object_versions
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

_BYTES_AT_ONCE = 8 * 2**20
"""Larger S3 objects are not fetched in one call."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Kind(Enum):
    """Kind of an entry."""

    FILE = "file"
    FOLDER = "folder"
    CLOSED = "folder that cannot be opened"
    OTHER = "link, pipe or device"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or other entry below a folder."""

    root: Location
    path: str
    """Relative to the root, as stored in the tables: see `text_of`."""
    raw: bytes
    """The same path in its original bytes."""
    kind: Kind
    size: int = 0
    changed: float = 0.0
    """Time of the last change of content or metadata, in seconds since the epoch."""

    @property
    def location(self) -> Location:
        """The location for messages."""
        return self.root / self.path

    def open(self) -> BinaryIO:
        """Open the file.

        Raises:
            FileNotFoundError: it no longer exists.
            OSError: it cannot be opened.
            AwsError: the request to S3 failed.
        """
        if self.root.scheme == "s3":
            return _open_object(self.location, self.size)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.fdopen(os.open(_relative_path(self.root, self.raw), flags), "rb")

    def delete(self) -> None:
        """Delete the file, in S3 with every version. For a link, only the link is deleted.

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
    """All entries below a folder, parents first; in S3 only objects. Empty if it does not exist."""
    return _walk_s3(root) if root.scheme == "s3" else _walk_local(root)


def delete_tree(root: Location, folders: Sequence[bytes]) -> int:
    """Delete a folder below the root with its contents; return the number of files.

    Nested folders are moved up first, so that neither depth nor path length is limited.

    Raises:
        ErasureError: an entry cannot be deleted.
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
            with os.scandir(_relative_path(root, folder)) as entries:
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
    """Open an object. Of a large object, only the parts that are read are fetched."""
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


def _relative_path(root: Location, raw: bytes) -> bytes:
    return os.path.join(os.fsencode(root.path), raw) if raw else os.fsencode(root.path)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


@contextmanager
def _open_folder(root: Location, names: Sequence[bytes]) -> Iterator[int]:
    """Open a folder below the root one level at a time, failing on links."""
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
    """Report errors without file names, which may identify a person."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise ErasureError(
            f"A file under {root} cannot be deleted ({error.strerror}). Grant this user write "
            "permission on its folders, remove links and mounts from them, and run `fruits erase` "
            "again. Completed steps are kept."
        ) from error
