"""What must not be found any more of a target, and how its names are spelled in texts. No I/O."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from spark_src.erasure.target import Target
from spark_src.images.layout import PHOTOS
from spark_src.images.listing import name_of
from spark_src.io.locations import Location

_HEX = re.compile(rb"[0-9a-f]{64,}")
_HEX_OR_NOT = bytes(104 if byte in b"0123456789abcdef" else 32 for byte in range(256))
_WORD = frozenset(
    byte for byte in range(256) if byte >= 128 or chr(byte).isalnum() or byte in b"_-"
)


PERSON = re.compile(rb"(?<![\w-])photos/([^/]{1,255})/")
"""Where a text can name a person's folder: names have any character but a slash."""


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
    def from_target(
        cls,
        target: Target,
        source: Location,
        image_ids: Iterable[str],
        others: Iterable[str] = (),
    ) -> Needles:
        """Those of a target.

        Args:
            target: whose data.
            source: the input.
            image_ids: of the target's pictures that nobody else supplied.
            others: names of other persons' folders. One can be called as the target's is quoted.
        """
        paths: dict[bytes, tuple[bytes, ...]] = {}
        for path in sorted(target.paths):
            if target.is_below_folder(path):
                continue
            for spelled in _spellings(path):
                folder = spelled.rpartition(b"/")[0]
                paths[folder] = (*paths.get(folder, ()), spelled)
        folders = () if target.prefix is None else _own_spellings(target.prefix, others)
        ids = frozenset(name.encode() for name in image_ids)
        return cls(folders, paths, _spellings(source.path), ids)

    @classmethod
    def merge(cls, several: Iterable[Needles]) -> Needles:
        """Those of several targets."""
        found = list(several)
        paths: dict[bytes, tuple[bytes, ...]] = {}
        for one in found:
            for folder, inside in one.paths.items():
                paths[folder] = (*paths.get(folder, ()), *inside)
        return cls(
            tuple(dict.fromkeys(name for one in found for name in one.folders)),
            paths,
            tuple(dict.fromkeys(name for one in found for name in one.roots)),
            frozenset().union(*(one.image_ids for one in found)),
        )

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


def _spellings(path: str) -> tuple[bytes, ...]:
    r"""A path as texts may have it: as it is, and quoted as URLs, JSON, Python, CSV and HTML do.

    >>> [form.decode() for form in _spellings('a"b')]
    ['a"b', 'a%22b', 'a\\"b', 'a\\\\\\"b', 'a""b', 'a&quot;b']
    """
    raw = name_of(path)
    texts = dict.fromkeys((path, raw.decode("utf-8", "surrogateescape")))
    found = [raw]
    for text in texts:
        found += [form.encode("utf-8", "surrogateescape") for form in _forms(text)]
    return tuple(dict.fromkeys([path.encode(), *found]))


def _own_spellings(prefix: str, others: Iterable[str]) -> tuple[bytes, ...]:
    """Those that name nobody else: `photos/a""b/` is a folder, and how CSV quotes `photos/a"b/`."""
    plain, *forms = _spellings(prefix)
    if not forms:
        return (plain,)
    taken = {
        form
        for name in others
        if name and f"{PHOTOS}/{name}/" != prefix
        for form in _spellings(f"{PHOTOS}/{name}/")
    }
    return (plain, *(form for form in forms if form not in taken))


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, errors="surrogateescape")
    for once in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield once
        yield json.dumps(once)[1:-1]  # JSON in a text of JSON, as Dagster keeps it
    yield repr(text)[1:-1]
    yield text.replace('"', '""')
    yield html.escape(text)


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
