"""File names of any bytes as text, and back. The tables store the text."""

from __future__ import annotations

import re

_LOOKS_ESCAPED = re.compile(rb"\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f]|5c(?=x[0-9a-f]{2}))")


def text_of(name: bytes) -> str:
    r"""A file name as unique text: bytes that are not valid UTF-8 are escaped as `\xNN`.

    A backslash that could be mistaken for such an escape is escaped as well.

    >>> print(text_of(b"caf\xe9.jpg"), text_of(rb"caf\xe9.jpg"), text_of(rb"a\b.jpg"))
    caf\xe9.jpg caf\x5cxe9.jpg a\b.jpg
    """
    return _LOOKS_ESCAPED.sub(rb"\\x5c", name).decode("utf-8", "backslashreplace")


def name_of(text: str) -> bytes:
    r"""The file name that `text_of` converted to this text.

    >>> [name_of(text_of(name)) == name for name in (b"caf\xe9", rb"caf\xe9", rb"a\b")]
    [True, True, True]
    """
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode())


def bytes_of(path: str) -> bytes:
    """The path as bytes for system calls: UTF-8 in any locale, with invalid bytes restored."""
    return path.encode("utf-8", "surrogateescape")
