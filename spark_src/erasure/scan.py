"""The proof's scan of every file below a folder, each decoded by its format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

from spark_src.erasure.decode import UndecodableError, decode
from spark_src.erasure.files import Entry, Kind, walk
from spark_src.erasure.needles import Needles
from spark_src.io import object_versions
from spark_src.io.locations import Location

_THREADS = 8
_FILES_AT_ONCE = 512
_CHUNK, _OVERLAP = 8 * 2**20, 16 * 2**10
"""Bytes of a file that are looked through at once, and those that are looked through twice."""


@dataclass(frozen=True)
class Scan:
    """A scan of every file below some folders."""

    files: int = 0
    bytes: int = 0
    hits: tuple[str, ...] = ()
    """Files that hold something of the target, where their names do not say whose they are."""
    named_hits: int = 0
    """How many hold something in their names, which are not repeated."""
    undecoded: int = 0
    """Files of a format that could not be read as such: looked through byte by byte."""
    unreadable: tuple[str, ...] = ()
    """Files and folders that could not be opened."""

    @property
    def n_hits(self) -> int:
        """How many files hold something."""
        return len(self.hits) + self.named_hits

    def __add__(self, other: Scan) -> Scan:
        return Scan(
            self.files + other.files,
            self.bytes + other.bytes,
            self.hits + other.hits,
            self.named_hits + other.named_hits,
            self.undecoded + other.undecoded,
            self.unreadable + other.unreadable,
        )


@dataclass
class Looked:
    """What was found in one entry."""

    entry: Entry
    in_name: bool = False
    in_content: bool = False
    undecoded: bool = False
    unreadable: bool = False


def scan(root: Location, needles: Needles, *skip: Location) -> Scan:
    """Scan every file below a folder.

    Args:
        root: the folder.
        needles: what is sought.
        skip: how the files begin that are left out: pending requests, what is looked into besides.

    Raises:
        AwsError: S3 refused.
    """
    left_out = tuple(str(start) for start in skip)
    entries = (entry for entry in walk(root) if not str(entry.location).startswith(left_out))
    total = Scan()
    with ThreadPoolExecutor(_THREADS, "scan") as pool:
        while batch := list(islice(entries, _FILES_AT_ONCE)):
            for looked in pool.map(lambda entry: look_into(entry, needles), batch):
                total = _counted(total, looked)
    return total


def earlier_versions(root: Location, needles: Needles | None = None) -> int:
    """In S3: how many earlier versions, delete markers and incomplete uploads there are.

    Args:
        root: the folder.
        needles: count those alone that are named so.
    """
    found = object_versions.leftovers(root) + object_versions.uploads(root)
    return sum(1 for name in found if needles is None or needles.are_in(name.encode()))


def _counted(total: Scan, looked: Looked) -> Scan:
    entry = looked.entry
    if entry.kind is Kind.FILE:
        total = replace(total, files=total.files + 1, bytes=total.bytes + entry.size)
    if looked.in_name:
        return replace(total, named_hits=total.named_hits + 1)
    if looked.in_content:
        total = replace(total, hits=(*total.hits, str(entry.location)))
    if looked.unreadable:
        total = replace(total, unreadable=(*total.unreadable, str(entry.location)))
    return replace(total, undecoded=total.undecoded + looked.undecoded)


def look_into(entry: Entry, needles: Needles) -> Looked:
    """Look for a target in the name of an entry, and in its content."""
    looked = Looked(entry, in_name=needles.are_in(entry.raw + b"/" * (entry.kind is Kind.FOLDER)))
    looked.unreadable = entry.kind is Kind.CLOSED
    if looked.in_name or entry.kind in {Kind.FOLDER, Kind.CLOSED}:
        return looked
    if entry.kind is Kind.OTHER:
        looked.in_content = needles.are_in(_link_target(entry))
        return looked
    try:
        with entry.open() as stream:
            looked.in_content, looked.undecoded = _look_through(stream, entry.path, needles)
    except FileNotFoundError:
        return looked
    except OSError:
        looked.unreadable = True
    return looked


def _look_through(stream: BinaryIO, name: str, needles: Needles) -> tuple[bool, bool]:
    """Whether a file holds something; whether its format could not be decoded."""
    try:
        texts = decode(stream, name)
        if texts is not None:
            return any(needles.are_in(text) for text in texts), False
    except UndecodableError:
        stream.seek(0)
        return any(needles.are_in(chunk) for chunk in _chunks(stream)), True
    return any(needles.are_in(chunk) for chunk in _chunks(stream)), False


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    before = b""
    while chunk := stream.read(_CHUNK):
        yield before + chunk
        before = chunk[-_OVERLAP:]


def _link_target(entry: Entry) -> bytes:
    try:
        return os.readlink(os.path.join(os.fsencode(entry.root.path), entry.raw))
    except OSError:
        return b""
