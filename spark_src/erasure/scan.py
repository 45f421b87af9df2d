"""The proof's look into every file: what is sought, and where it would stand in each format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO
from urllib.parse import quote

from spark_src.erasure.decode import UndecodableError, decode
from spark_src.erasure.files import Entry, Kind, walk
from spark_src.erasure.target import Target
from spark_src.io import object_versions
from spark_src.io.locations import Location

_THREADS = 8
_FILES_AT_ONCE = 512
_CHUNK, _OVERLAP = 8 * 2**20, 16 * 2**10
"""Bytes of a file that are looked through at once, and those that are looked through twice."""

_HEX = re.compile(rb"[0-9a-f]{64,}")
_HEX_OR_NOT = bytes(104 if byte in b"0123456789abcdef" else 32 for byte in range(256))
_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")
_WORD = frozenset(
    byte for byte in range(256) if byte >= 128 or chr(byte).isalnum() or byte in b"_-"
)


@dataclass(frozen=True)
class Needles:
    """What must not be found anywhere any more."""

    folders: tuple[bytes, ...]
    """The person's folder, as it may be spelled."""
    paths: dict[bytes, tuple[bytes, ...]]
    """Single files by their folders: few folders are sought, and files only where one is found."""
    roots: tuple[bytes, ...]
    """What can stand before a path, a slash between them: the input."""
    image_ids: frozenset[bytes]

    @classmethod
    def from_target(cls, target: Target, source: Location, image_ids: Iterable[str]) -> Needles:
        """Those of a target.

        Args:
            target: whose data.
            source: the input.
            image_ids: of the target's pictures that nobody else supplied.
        """
        paths: dict[bytes, tuple[bytes, ...]] = {}
        for path in sorted(target.paths):
            if target.is_below_folder(path):
                continue
            for spelled in _spellings(path):
                folder = spelled.rpartition(b"/")[0]
                paths[folder] = (*paths.get(folder, ()), spelled)
        folders = () if target.prefix is None else _spellings(target.prefix)
        ids = frozenset(name.encode() for name in image_ids)
        return cls(folders, paths, _spellings(source.path), ids)

    def are_in(self, content: bytes) -> bool:
        """Whether a text, or bytes of any kind, holds one of them.

        In a text a name has to stand as a whole: `Apple/1.jpg` is not in `Training/Apple/1.jpg`.
        In other bytes what stands before it can be a length, or anything.
        """
        folders = list(_places(content, self.folders))
        paths = [
            (place, path)
            for folder, inside in self.paths.items()
            if folder in content
            for path in inside
            for place in _places(content, [path])
        ]
        if any(_is_name_at(content, place) for place in folders):
            return True
        if any(self._stands_whole(content, *found) for found in paths):
            return True
        if (folders or paths) and not _is_text(content):
            return True
        return bool(self.image_ids) and self._has_image_id(content)

    def _has_image_id(self, content: bytes) -> bool:
        if b"h" * 64 not in content.translate(_HEX_OR_NOT):  # quick: most files are pictures
            return False
        return any(
            match[0][start : start + 64] in self.image_ids
            for match in _HEX.finditer(content)
            for start in range(len(match[0]) - 63)
        )

    def _stands_whole(self, content: bytes, start: int, path: bytes) -> bool:
        end = start + len(path)
        if content[end : end + 1] and content[end] in _WORD:
            return False
        if content[start - 1 : start] != b"/":
            return _is_name_at(content, start)
        return any(content.endswith(root + b"/", 0, start) for root in self.roots)


@dataclass(frozen=True)
class Scan:
    """A look into every file below some folders."""

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
class _Looked:
    """What was found in one entry."""

    entry: Entry
    in_name: bool = False
    in_content: bool = False
    undecoded: bool = False
    unreadable: bool = False


def scan(root: Location, needles: Needles, skip: Location | None = None) -> Scan:
    """Look into every file below a folder.

    Args:
        root: the folder.
        needles: what is sought.
        skip: how the files begin that are left out: pending requests.

    Raises:
        AwsError: S3 refused.
    """
    left_out = str(skip) if skip else ""
    entries = (
        entry
        for entry in walk(root)
        if not left_out or not str(entry.location).startswith(left_out)
    )
    total = Scan()
    with ThreadPoolExecutor(_THREADS, "scan") as pool:
        while batch := list(islice(entries, _FILES_AT_ONCE)):
            for looked in pool.map(lambda entry: _look_into(entry, needles), batch):
                total = _counted(total, looked)
    return total


def earlier_versions(root: Location, needles: Needles | None = None) -> int:
    """In S3: how many earlier versions and delete markers there are; with needles: of theirs."""
    found = object_versions.leftovers(root)
    return sum(1 for name in found if needles is None or needles.are_in(name.encode()))


def _counted(total: Scan, looked: _Looked) -> Scan:
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


def _look_into(entry: Entry, needles: Needles) -> _Looked:
    looked = _Looked(entry, in_name=needles.are_in(entry.raw + b"/" * (entry.kind is Kind.FOLDER)))
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


def _spellings(path: str) -> tuple[bytes, ...]:
    """A path as texts may have it: plain, percent-encoded, and as the bytes that it is."""
    plain = path.encode()
    raw = _BYTE.sub(lambda match: bytes([int(match[1], 16)]), plain)
    return tuple(dict.fromkeys((plain, quote(path).encode(), raw)))


def _places(content: bytes, needles: Iterable[bytes]) -> Iterator[int]:
    for needle in needles:
        start = content.find(needle)
        while start >= 0:
            yield start
            start = content.find(needle, start + 1)


def _is_name_at(content: bytes, start: int) -> bool:
    """Whether a name begins there, and no longer one ends so: `photos/` is not in `myphotos/`."""
    return start == 0 or content[start - 1] not in _WORD


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
