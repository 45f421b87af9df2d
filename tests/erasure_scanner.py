"""Searches for a name in bytes, file formats and rows, without using the project's code.

Nested formats are decoded up to a fixed depth. Escapes of JSON, URLs, Python, CSV and HTML are
undone before the comparison, so that the quoting of a name does not matter.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import html
import io
import json
import lzma
import os
import re
import sqlite3
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
import pyarrow.parquet as pq

_OPENERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
    (b"x", zlib.decompress),
]
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_DEPTH = 4
_SHORT = 2**16
"""Maximum size of files in which any run of letters is tried as base64, not only marked data."""


def files_with(marker: str, *roots: Path | str) -> list[str]:
    """Files and folders whose names or contents contain the marker."""
    found = []
    for root in map(os.fsencode, roots):
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                if is_in(name, marker) or _file_has(path, marker):
                    found.append(os.fsdecode(path))
    return found


def rows_with(marker: str, dsn: str) -> list[str]:
    """Tables of a PostgreSQL database with a row that contains the marker."""
    found = []
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select tablename from pg_tables where schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'select * from "{table}"')  # noqa: S608
            found += [table for row in cursor.fetchall() if _values_have(row, marker)]
    return found


def is_in(content: bytes, marker: str, depth: int = 0) -> bool:
    """Whether bytes contain the marker, however they are compressed and quoted."""
    run = max(re.findall("[A-Za-z0-9]+", marker), key=len)  # quoting never changes letters
    wanted = unicodedata.normalize("NFC", marker)
    encodings = (name for name in ("utf-8", "utf-16-le") if run.encode(name) in content)
    if any(_has_unquoted(content.decode(name, "replace"), wanted) for name in encodings):
        return True
    if depth == _DEPTH:
        return False
    return any(is_in(inner, marker, depth + 1) for inner in _unpacked(content))


def _file_has(path: bytes, marker: str) -> bool:
    if os.path.islink(path):
        return is_in(os.readlink(path), marker)
    if not os.path.isfile(path):
        return False
    content = Path(os.fsdecode(path)).read_bytes()
    return is_in(content, marker)


def _has_unquoted(text: str, wanted: str) -> bool:
    """Whether the text contains it after undoing up to two levels of quoting."""
    for _ in range(3):
        if wanted in unicodedata.normalize("NFC", text):
            return True
        text = unquote(html.unescape(re.sub(r"\\+u([0-9a-fA-F]{4})", _character, text)))
        text = text.replace('\\"', '"').replace('""', '"').replace("\\\\", "\\")
    return False


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _unpacked(content: bytes) -> Iterator[bytes]:
    for magic, opener in _OPENERS:
        if content.startswith(magic):
            try:
                yield opener(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                continue
    if content.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                yield member.filename.encode()
                yield archive.read(member)
    if content.startswith(b"PAR1"):
        yield from _parquet(content)
    if content.startswith(b"SQLite format 3\0"):
        yield from _sqlite(content)
    for found in _BASE64.findall(content) if len(content) < _SHORT or b"base64," in content else ():
        try:
            yield base64.b64decode(found, validate=True)
        except binascii.Error:
            continue


def _parquet(content: bytes) -> Iterator[bytes]:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (OSError, ValueError):
        return
    yield str(table.schema.metadata).encode()
    for column in table.columns:
        if "binary" not in str(column.type) and "list" not in str(column.type):
            yield json.dumps(column.to_pylist(), default=str, ensure_ascii=False).encode()


def _sqlite(content: bytes) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "copy.db")
        file.write_bytes(content)
        database = sqlite3.connect(file)
        database.text_factory = bytes
        try:
            tables = database.execute("select name from sqlite_master where type = 'table'")
            for (table,) in tables.fetchall():
                rows = database.execute(f'select * from "{table.decode()}"')  # noqa: S608
                yield from (value for row in rows for value in row if isinstance(value, bytes))
        finally:
            database.close()


def _values_have(row: Iterable[Any], marker: str) -> bool:
    values = (value.encode() if isinstance(value, str) else value for value in row)
    found = (bytes(value) for value in values if isinstance(value, (bytes, memoryview)))
    return any(is_in(value, marker) for value in found)
