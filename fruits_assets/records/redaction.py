"""Redact a person in texts, JSON, logs and pictures of Dagster's records. No I/O, no database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fruits_assets.materialization import PHOTOS_SHOWN
from spark_src.erasure.decode import PACKED, compress_like, decompress_value, texts_of_value
from spark_src.erasure.needles import Needles, spellings

ERASED = "(erased)"
NO_PICTURE = "An erasure removed this picture because it could show a person's photo."

_PLOTS = frozenset(
    {
        "activations",
        "explained variance by component",
        "histogram of the features",
        "images per second over the run",
        "throughput",
        "variance",
    }
)
"""Metadata labels of plots that contain only numbers, also in records of earlier releases."""

_PICTURE = re.compile(r"!\[[^\]]*\]\(data:image/[^)]*\)")
_FIELDS_WITH_NAMES = frozenset(
    {"metadata", "metadata_entries", "run_config", "tags", "partition", "partition_key"}
)
"""JSON fields in which a text equal to a person's name is treated as that person."""

_TYPES = frozenset({"__class__", "__enum__"})
"""JSON keys for types. The other keys of such an object are field names, not data."""

COLUMNS_WITH_NAMES = frozenset({"key", "value", "partition"})
"""The same for columns of Dagster's databases: tags and partitions."""

_REST_OF_PATH = re.compile(rb"[^\n\r\"'|,;<>)\]]*")
"""The rest of a path in a text, if the name of the file is not known."""

_WHOLE_PATH = rb"(?:(?!photos/)[^\n])*\.\w{2,4}\Z"
"""The rest of a path that is a whole value."""

_MAY_BE_PACKED = re.compile(rb"(?<![A-Za-z0-9+/])" + PACKED)

_BEFORE = rb"(?<![\w\x80-\xff-])"
_RUN = re.compile(rb"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Redaction:
    """Redacts paths and ids of targets, and people's names that are whole values."""

    needles: Needles
    subjects: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()
    """Known paths of the target's files, which may contain any character."""

    def value(self, value: Any, names: bool = False) -> Any:
        """Redact a value of a database row; return the same object if nothing matches.

        Args:
            value: of any type; only texts and bytes are redacted.
            names: whether a text equal to a person's name is treated as that person.
        """
        if isinstance(value, str):
            return self.text(value, names)
        if isinstance(value, (bytes, memoryview)):
            return self.blob(bytes(value))
        return value

    def text(self, text: str, names: bool = False) -> str:
        """Redact a text, JSON or not."""
        if not self._may_match(text.encode("utf-8", "surrogatepass")):
            return text
        return self._text(text, names, pictures=False)

    def blob(self, content: bytes) -> bytes:
        """Redact JSON (also compressed) and text; blank matches in other bytes, keeping length."""
        plain = decompress_value(content)
        if plain is not None:
            redacted = self.blob(plain)
            return content if redacted == plain else compress_like(content, redacted)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return self.binary(content)
        return self.text(text).encode("utf-8", "surrogatepass")

    def binary(self, content: bytes) -> bytes:
        """Blank matches in bytes that may contain lengths, such as a pickle."""
        return self._binary_pattern.sub(lambda found: b"x" * len(found[0]), content)

    def lines(self, content: bytes) -> bytes:
        """Redact a log file, which is not JSON as a whole."""
        redacted = self._pattern.sub(ERASED.encode(), content)
        if not self.needles.are_in(redacted):
            return redacted
        lines = [ERASED.encode() if self._matches(line) else line for line in redacted.split(b"\n")]
        return b"\n".join(lines)

    def _matches(self, content: bytes) -> bool:
        return any(self.needles.are_in(text) for text in texts_of_value(content))

    def _text(self, text: str, names: bool, pictures: bool) -> str:
        if text[:1] in {"{", "["}:
            try:
                value = json.loads(text)
            except ValueError:
                pass
            else:
                redacted = self._json(value, names, pictures)
                return text if redacted == value else json.dumps(redacted)
        plain = decompress_value(text.encode("utf-8", "surrogatepass"))
        if plain is not None:
            return self.blob(text.encode()).decode()
        if pictures and "data:image/" in text:
            text = _PICTURE.sub(NO_PICTURE, text)
        if names:
            text = self._without_names(text)
        content = text.encode("utf-8", "surrogatepass")
        if not self.needles.are_in(content):
            return text
        redacted_bytes = self._pattern.sub(ERASED.encode(), content)
        if self.needles.are_in(redacted_bytes):
            return ERASED
        return redacted_bytes.decode("utf-8", "surrogatepass")

    def _json(self, value: Any, names: bool, pictures: bool) -> Any:
        if isinstance(value, str):
            return self._text(value, names, pictures)
        if isinstance(value, list):
            return [self._json(item, names, pictures) for item in value]
        if not isinstance(value, dict):
            return value
        may_show = pictures and value.get("label") not in _PLOTS
        is_object = any(key in value for key in _TYPES)
        redacted = {}
        for key, inner in value.items():
            if key in _TYPES:
                redacted[key] = inner
                continue
            has_photos = key in {"metadata", "metadata_entries"} and _may_show_photos(inner)
            name = key if is_object else self._text(key, names, False)
            redacted[name] = self._json(
                inner, names or key in _FIELDS_WITH_NAMES, may_show or has_photos
            )
            if key == "tags" and isinstance(inner, dict):
                redacted[name] = _with_valid_characters(redacted[name])
        return redacted

    def _without_names(self, text: str) -> str:
        """Redact a text, or a cell of a Markdown table, that equals a name."""
        for name in self.subjects:
            if text == name or text.strip() == name.strip() != "":
                return ERASED
            if "|" in text:
                cell = rf"(\|\s*){re.escape(name)}(?=\s*\|)"
                text = re.sub(cell, rf"\g<1>{ERASED}", text)
        return text

    def _may_match(self, content: bytes) -> bool:
        """A fast pre-filter before decoding."""
        is_named = any(part in content for part in self._required_parts)
        return is_named or _MAY_BE_PACKED.search(content) is not None

    @cached_property
    def _required_parts(self) -> tuple[bytes, ...]:
        """Every match contains at least one of these substrings, however it is quoted."""
        names = [path for paths in self.needles.paths.values() for path in paths]
        names += [folder.partition(b"/")[2] for folder in self.needles.folders]
        names += [name.encode("utf-8", "surrogatepass") for name in self.subjects]
        runs = [max(_RUN.findall(name), key=len, default=b"") for name in names]
        return (b"data:image/", *dict.fromkeys(runs), *sorted(self.needles.image_ids))

    @cached_property
    def _names_below(self) -> dict[bytes, list[bytes]]:
        """Spelled folder -> spelled names of the known files below it, longest first."""
        found: dict[bytes, set[bytes]] = {folder: set() for folder in self.needles.folders}
        for path in (spelled for file in self.files for spelled in spellings(file)):
            for folder, names in found.items():
                if path.startswith(folder):
                    names.add(path.removeprefix(folder))
        return {folder: sorted(names, key=len, reverse=True) for folder, names in found.items()}

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join([rb"(?!)", *self._alternatives(_BEFORE)]))

    @cached_property
    def _binary_pattern(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join([rb"(?!)", *self._alternatives(b"")]))

    def _alternatives(self, before: bytes) -> Iterable[bytes]:
        paths = [path for inside in self.needles.paths.values() for path in inside]
        for root in (b"", *(root + b"/" for root in self.needles.roots)):
            for path in sorted(paths, key=len, reverse=True):
                yield before + re.escape(root + path)
        for folder in sorted(self.needles.folders, key=len, reverse=True):
            start = re.escape(folder)
            if before:
                yield rb"\A" + start + _WHOLE_PATH
            names = self._names_below[folder]
            if before:  # the others match anyway
                names = [name for name in names if not _REST_OF_PATH.fullmatch(name)]
            rests = [*map(re.escape, names), _REST_OF_PATH.pattern if before else b""]
            yield before + start + b"(?:" + b"|".join(rests) + b")"
        for image_id in sorted(self.needles.image_ids):
            yield re.escape(image_id)


def _with_valid_characters(tags: dict[str, Any]) -> dict[str, Any]:
    """Tags of events, in which Dagster accepts no brackets."""
    valid = {ERASED: ERASED.strip("()")}
    return {
        valid.get(key, key): valid.get(value, value) if isinstance(value, str) else value
        for key, value in tags.items()
    }


def _may_show_photos(entries: Any) -> bool:
    """Whether pictures in these metadata can show a person's photo.

    Newer metadata records the setting; older metadata is assumed to show photos.
    """
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("label") == PHOTOS_SHOWN:
            return bool((entry.get("entry_data") or {}).get("value", True))
    return True
