"""Search terms for a target's data, including escaped spellings of its names. No I/O."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from spark_src.erasure.target import Target
from spark_src.images.layout import PHOTOS
from spark_src.images.names import name_of
from spark_src.io.locations import Location

_HEX = re.compile(rb"[0-9a-f]{64,}")
_HEX_OR_NOT = bytes(104 if byte in b"0123456789abcdef" else 32 for byte in range(256))
_WORD = frozenset(
    byte for byte in range(256) if byte >= 128 or chr(byte).isalnum() or byte in b"_-"
)


_ESCAPE = re.compile(rb"(?:%[0-9A-Fa-f]{2}|\\[nrt]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})\Z")
"""An escaped character, such as a line break in JSON, at the end. It is not part of a word."""

_ESCAPE_BYTES = 6

PERSON = re.compile(rb"(?<![\w-])photos/([^/]{1,255})/")
"""A person's folder in a text. Names may contain any character except a slash."""


@dataclass(frozen=True)
class Needles:
    """Search terms for data that must not exist anywhere."""

    folders: tuple[bytes, ...]
    """The person's folder in all its spellings."""
    paths: dict[bytes, tuple[bytes, ...]]
    """Folder -> file paths. Files are only searched for where their folder is found."""
    roots: tuple[bytes, ...]
    """Spellings of the input folder, which may precede a path."""
    image_ids: frozenset[bytes]

    @classmethod
    def from_target(
        cls,
        target: Target,
        source: Location,
        image_ids: Iterable[str],
        others: Iterable[str] = (),
    ) -> Needles:
        """The needles of a target.

        Args:
            target: the person or pictures.
            source: the input.
            image_ids: ids of pictures that only the target supplied.
            others: names of other people's folders, one of which may look like a quoted
                form of the target's name.
        """
        paths: dict[bytes, tuple[bytes, ...]] = {}
        for path in sorted(target.paths):
            if target.is_below_folder(path):
                continue
            for spelled in spellings(path):
                folder = spelled.rpartition(b"/" if b"/" in spelled else b"%2F")[0]
                paths[folder] = (*paths.get(folder, ()), spelled)
        folders = () if target.prefix is None else _own_spellings(target.prefix, others)
        ids = frozenset(name.encode() for name in image_ids)
        return cls(folders, paths, spellings(source.path), ids)

    @classmethod
    def merge(cls, several: Iterable[Needles]) -> Needles:
        """Merge the needles of several targets."""
        parts = list(several)
        paths: dict[bytes, tuple[bytes, ...]] = {}
        for needles in parts:
            for folder, inside in needles.paths.items():
                paths[folder] = (*paths.get(folder, ()), *inside)
        return cls(
            tuple(dict.fromkeys(name for needles in parts for name in needles.folders)),
            paths,
            tuple(dict.fromkeys(name for needles in parts for name in needles.roots)),
            frozenset().union(*(needles.image_ids for needles in parts)),
        )

    def are_in(self, content: bytes) -> bool:
        """Whether the content contains one of the needles.

        In text, only whole names match: `Apple/1.jpg` does not match in `Training/Apple/1.jpg`.
        In binary data, any byte, such as a length prefix, may precede a name.
        """
        folders = list(_positions(content, self.folders))
        paths = [
            (position, path)
            for folder, inside in self.paths.items()
            if folder in content
            for path in inside
            for position in _positions(content, [path])
        ]
        if any(_is_name_at(content, position) for position in folders):
            return True
        if any(self._is_whole_name(content, *found) for found in paths):
            return True
        if (folders or paths) and not _is_text(content):
            return True
        return bool(self.image_ids) and self._has_image_id(content)

    def _has_image_id(self, content: bytes) -> bool:
        if b"h" * 64 not in content.translate(_HEX_OR_NOT):  # fast path, as most files are pictures
            return False
        return any(
            match[0][start : start + 64] in self.image_ids
            for match in _HEX.finditer(content)
            for start in range(len(match[0]) - 63)
        )

    def _is_whole_name(self, content: bytes, start: int, path: bytes) -> bool:
        end = start + len(path)
        if content[end : end + 1] and content[end] in _WORD:
            return False
        for slash in (b"/", b"%2F"):
            if content.endswith(slash, 0, start):
                return any(content.endswith(root + slash, 0, start) for root in self.roots)
        return _is_name_at(content, start)


def spellings(path: str) -> tuple[bytes, ...]:
    r"""Spellings of a path in texts: unchanged, and quoted as in URLs, JSON, Python, CSV and HTML.

    >>> [form.decode() for form in spellings('a"b')]
    ['a"b', 'a%22b', 'a\\"b', 'a\\\\\\"b', 'a""b', 'a&quot;b']
    """
    raw = name_of(path)
    texts = dict.fromkeys((path, raw.decode("utf-8", "surrogateescape")))
    found = [raw]
    for text in texts:
        found += [form.encode("utf-8", "surrogateescape") for form in _forms(text)]
    return tuple(dict.fromkeys([path.encode(), *found]))


def _own_spellings(prefix: str, others: Iterable[str]) -> tuple[bytes, ...]:
    """Spellings that are not another person's folder: CSV turns `photos/a"b/` into `a""b`."""
    plain, *forms = spellings(prefix)
    if not forms:
        return (plain,)
    taken = {
        form
        for name in others
        if name and f"{PHOTOS}/{name}/" != prefix
        for form in spellings(f"{PHOTOS}/{name}/")
    }
    return (plain, *(form for form in forms if form not in taken))


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, errors="surrogateescape")
    yield quote(text, safe="", errors="surrogateescape")
    for safe in ("/", ""):  # as in forms, and in the notifications of S3
        yield quote_plus(text, safe, errors="surrogateescape")
    for once in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield once
        yield json.dumps(once)[1:-1]  # JSON inside a JSON string, as Dagster stores it
    yield repr(text)[1:-1]
    yield text.replace('"', '""')
    yield html.escape(text)


def _positions(content: bytes, needles: Iterable[bytes]) -> Iterator[int]:
    for needle in needles:
        start = content.find(needle)
        while start >= 0:
            yield start
            start = content.find(needle, start + 1)


def _is_name_at(content: bytes, start: int) -> bool:
    """Whether a name begins at this position: `photos/` does not match in `myphotos/`."""
    if start == 0 or content[start - 1] not in _WORD:
        return True
    return _ESCAPE.search(content, max(0, start - _ESCAPE_BYTES), start) is not None


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
