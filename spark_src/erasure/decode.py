"""Extracts the texts of files by format, decoding escapes, compression and columns."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_src.erasure.decompress import (
    DAMAGED,
    OVERLAP,
    Budget,
    UndecodableError,
    blocks,
    decompressor,
    read_parts,
)

SQLITE = b"SQLite format 3\0"
"""Signature of a database file."""

PACKED = rb"\d?(?:e[AFJN]|H4sI)[A-Za-z0-9+/]+={0,2}"
"""Base64 of a zlib or gzip stream, after a digit in the cursors of Dagster's sensors."""

_BASE64 = re.compile(rb"\d?(e[AFJN][A-Za-z0-9+/]+={0,2}|H4sI[A-Za-z0-9+/]+={0,2})\Z")
_MAX_CELL = 2**31 - 1
_LINES_AT_ONCE = 4096
_INNER_BYTES = 32 * 2**20
"""Compressed files up to this size are decoded by the format of their content, too."""


def decode(
    stream: BinaryIO, name: str, budget: Budget | None = None, layers: int = 4
) -> Iterator[bytes] | None:
    """The texts of a file, or None if its raw bytes should be searched.

    Args:
        stream: the file, at its start.
        name: the name of the file.
        budget: limits how much is decompressed.
        layers: how many compressed files may be inside each other.

    Raises:
        UndecodableError: now or while iterating, if the file is damaged or has another format.
    """
    budget = Budget() if budget is None else budget
    texts = _by_first_bytes(stream, name, budget, layers) or _by_name(stream, name)
    return _decoded(texts) if texts else None


def _by_first_bytes(
    stream: BinaryIO, name: str, budget: Budget, layers: int
) -> Iterator[bytes] | None:
    head = stream.read(len(SQLITE))
    stream.seek(0)
    for magic, texts in _FORMATS.items():
        if head.startswith(magic):
            return texts(stream)
    if not layers:
        return None
    if head.startswith(b"PK\3\4"):
        return _zip(stream, budget, layers)
    decompress = decompressor(head)
    if decompress is None:
        return None
    return _inner(decompress(stream), os.path.splitext(name)[0], budget, layers)


def _by_name(stream: BinaryIO, name: str) -> Iterator[bytes] | None:
    if name.endswith((".json", ".jsonl", ".ipynb")):
        return _json(stream)
    return _csv(stream) if name.endswith(".csv") else None


def _decoded(texts: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from texts
    except (*DAMAGED, csv.Error, sqlite3.Error) as error:
        raise UndecodableError(str(error)) from error


def _inner(parts: Iterator[bytes], name: str, budget: Budget, layers: int) -> Iterator[bytes]:
    """The raw bytes of a compressed file, and its texts by the format of its content."""
    before, whole = b"", io.BytesIO()
    for block in blocks(parts):
        budget.spend(len(block))
        yield before + block
        before = block[-OVERLAP:]
        if whole.tell() <= _INNER_BYTES:
            whole.write(block)
    is_small = whole.tell() <= _INNER_BYTES
    whole.seek(0)
    texts = decode(whole, name, budget, layers - 1)
    if texts is None:
        return
    if not is_small:
        raise UndecodableError("too large to be decoded")
    yield from texts


def _parquet(stream: BinaryIO) -> Iterator[bytes]:
    """Every string in a table, nested or not, and the footer metadata; no binary columns."""
    with pq.ParquetFile(pa.PythonFile(stream, "r")) as parquet:
        for key, value in (parquet.metadata.metadata or {}).items():
            if key != b"ARROW:schema":
                yield key + b"\n" + value
        schema = parquet.schema_arrow
        names = [column.name for column in schema if _has_text(column.type)]
        if not names:
            return
        for batch in parquet.iter_batches(columns=names, use_threads=False):
            for column in batch.columns:
                for texts in _texts_in(column):
                    yield _join_distinct(texts)


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(number).type) for number in range(kind.num_fields))
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_text(kind) for is_text in texts)


def _texts_in(column: pa.Array) -> Iterator[pa.Array]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _texts_in(column.dictionary)
    elif pa.types.is_map(kind):
        yield from _texts_in(column.keys)
        yield from _texts_in(column.items)
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from _texts_in(part)
    elif pa.types.is_nested(kind):
        yield from _texts_in(column.flatten())
    elif _has_text(kind):
        yield column.cast(pa.string())


def _join_distinct(texts: pa.Array) -> bytes:
    """Distinct values joined by newlines, without converting each to a Python object."""
    values = pc.unique(texts).drop_null()
    if not len(values):
        return b""
    row = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return bytes(pc.binary_join(row, "\n")[0].as_buffer())


def _zip(stream: BinaryIO, budget: Budget, layers: int) -> Iterator[bytes]:
    """Names and contents of the members."""
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            yield member.filename.encode("utf-8", "surrogateescape")
            with archive.open(member) as content:
                yield from _inner(read_parts(content), member.filename, budget, layers)


def _numpy(stream: BinaryIO) -> Iterator[bytes]:
    """The strings of an array."""
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind in "US":
        yield "\n".join(map(str, array.ravel().tolist())).encode("utf-8", "surrogatepass")


def _sqlite(stream: BinaryIO) -> Iterator[bytes]:
    """The raw pages, which may contain deleted rows, and every value of every row."""
    content = bytearray(stream.read())
    yield bytes(content)
    content[18:20] = b"\1\1"  # WAL databases cannot be opened from memory
    with closing(sqlite3.connect(":memory:")) as database:
        database.text_factory = bytes
        database.deserialize(bytes(content))
        tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            quoted = table.decode().replace('"', '""')
            for row in database.execute(f'select * from "{quoted}"'):  # noqa: S608 - quoted table name
                for value in row:
                    if isinstance(value, bytes):
                        yield from texts_of_value(value)


def texts_of_value(value: bytes) -> Iterator[bytes]:
    """Texts of a database value: unchanged, parsed as JSON, and decompressed."""
    yield value
    if value[:1] in {b"{", b"["}:
        with _ignore_invalid():
            texts = _texts_of(json.loads(value))
            yield "\n".join(texts).encode("utf-8", "surrogatepass")
    elif (plain := decompress_value(value)) is not None:
        yield from texts_of_value(plain)


def decompress_value(value: bytes) -> bytes | None:
    """The content of a value that is a zlib or gzip stream, in Base64 or not; otherwise None."""
    encoded = _BASE64.match(value)
    try:
        content = base64.b64decode(encoded[1]) if encoded else value
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        return zlib.decompress(content) if content.startswith(b"x") else None
    except (zlib.error, OSError, EOFError, ValueError):
        return None


def compress_like(original: bytes, content: bytes) -> bytes:
    """Compress a content in the way of the original value."""
    encoded = _BASE64.match(original)
    is_gzip = b"\x1f\x8b" in (original[:2], base64.b64decode(encoded[1])[:2] if encoded else b"")
    packed = gzip.compress(content) if is_gzip else zlib.compress(content)
    return original[: encoded.start(1)] + base64.b64encode(packed) if encoded else packed


def _json(stream: BinaryIO) -> Iterator[bytes]:
    """All keys and strings, including JSON in strings. Supports JSON and JSON Lines files."""
    text = stream.read().decode("utf-8")
    try:
        values = [json.loads(text)]
    except ValueError:
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    yield "\n".join(text for value in values for text in _texts_of(value)).encode(
        "utf-8", "surrogatepass"
    )


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value[:1] in {"{", "["}:
            with _ignore_invalid():
                yield from _texts_of(json.loads(value))
        elif (plain := decompress_value(value.encode("utf-8", "surrogatepass"))) is not None:
            yield from _texts_of(plain.decode("utf-8", "replace"))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_of(inner)


@contextmanager
def _ignore_invalid() -> Iterator[None]:
    try:
        yield
    except (ValueError, RecursionError):
        return


def _csv(stream: BinaryIO) -> Iterator[bytes]:
    """All cells, unquoted."""
    csv.field_size_limit(_MAX_CELL)
    lines = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        rows: Iterable[list[str]] = csv.reader(lines)
        while block := list(islice(rows, _LINES_AT_ONCE)):
            yield "\n".join(cell for row in block for cell in row).encode()
    finally:
        lines.detach()


def _utf16(stream: BinaryIO) -> Iterator[bytes]:
    """The text of a file that a spreadsheet saved as "Unicode text"."""
    yield stream.read().decode("utf-16").encode("utf-8", "surrogatepass")


_FORMATS = {
    b"PAR1": _parquet,
    b"\x93NUMPY": _numpy,
    SQLITE: _sqlite,
    b"\xff\xfe": _utf16,
    b"\xfe\xff": _utf16,
}
