"""Scans every file below a folder for a target's data, decoding each by its format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

from spark_src.erasure.decode import decode
from spark_src.erasure.decompress import UndecodableError
from spark_src.erasure.files import Entry, Kind, walk
from spark_src.erasure.needles import Needles
from spark_src.io import object_versions
from spark_src.io.locations import Location

_THREADS = 8
_FILES_AT_ONCE = 512
_CHUNK, _OVERLAP = 8 * 2**20, 16 * 2**10
"""Bytes of a file that are searched at a time, and the overlap of consecutive chunks."""


@dataclass(frozen=True)
class Scan:
    """Results of scanning all files below some folders."""

    files: int = 0
    bytes: int = 0
    hits: tuple[str, ...] = ()
    """Files with data of the target whose names do not identify the person."""
    named_hits: int = 0
    """Number of files whose names identify the target, which are not listed."""
    undecoded: int = 0
    """Number of files that could not be decoded and were searched as raw bytes."""
    unreadable: tuple[str, ...] = ()
    """Files and folders that could not be opened."""

    @property
    def n_hits(self) -> int:
        """Number of files with data of the target."""
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
class EntryScan:
    """Result of scanning one entry."""

    entry: Entry
    in_name: bool = False
    in_content: bool = False
    undecoded: bool = False
    unreadable: bool = False


def scan(root: Location, needles: Needles, *skip: Location) -> Scan:
    """Scan every file below a folder.

    Args:
        root: the folder.
        needles: the search terms.
        skip: location prefixes of files to leave out, such as pending requests.

    Raises:
        AwsError: a request to S3 failed.
    """
    skipped = tuple(str(prefix) for prefix in skip)
    entries = (entry for entry in walk(root) if not str(entry.location).startswith(skipped))
    total = Scan()
    with ThreadPoolExecutor(_THREADS, "scan") as pool:
        while batch := list(islice(entries, _FILES_AT_ONCE)):
            for result in pool.map(lambda entry: scan_entry(entry, needles), batch):
                total = _add_result(total, result)
    return total


def earlier_versions(root: Location, needles: Needles | None = None) -> int:
    """Number of earlier versions, delete markers and incomplete uploads in S3.

    Args:
        root: the folder.
        needles: if given, only matching names are counted.
    """
    found = object_versions.leftovers(root) + object_versions.uploads(root)
    return sum(1 for name in found if needles is None or needles.are_in(name.encode()))


def _add_result(total: Scan, result: EntryScan) -> Scan:
    entry = result.entry
    if entry.kind is Kind.FILE:
        total = replace(total, files=total.files + 1, bytes=total.bytes + entry.size)
    if result.in_name:
        return replace(total, named_hits=total.named_hits + 1)
    if result.in_content:
        total = replace(total, hits=(*total.hits, str(entry.location)))
    if result.unreadable:
        total = replace(total, unreadable=(*total.unreadable, str(entry.location)))
    return replace(total, undecoded=total.undecoded + result.undecoded)


def scan_entry(entry: Entry, needles: Needles) -> EntryScan:
    """Search the name and the content of an entry."""
    result = EntryScan(
        entry, in_name=needles.are_in(entry.raw + b"/" * (entry.kind is Kind.FOLDER))
    )
    result.unreadable = entry.kind is Kind.CLOSED
    if result.in_name or entry.kind in {Kind.FOLDER, Kind.CLOSED}:
        return result
    if entry.kind is Kind.OTHER:
        result.in_content = needles.are_in(_link_target(entry))
        return result
    try:
        with entry.open() as stream:
            result.in_content, result.undecoded = _scan_stream(stream, entry.path, needles)
    except FileNotFoundError:
        return result
    except OSError:
        result.unreadable = True
    return result


def _scan_stream(stream: BinaryIO, name: str, needles: Needles) -> tuple[bool, bool]:
    """Whether a needle was found, and whether decoding failed."""
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
