"""Decompresses files of any origin in blocks. Memory and total size are limited."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa

BLOCK = 8 * 2**20
OVERLAP = 16 * 2**10
"""Consecutive blocks share these bytes, so that no name is cut in two."""

DAMAGED = (
    OSError,
    ValueError,  # raised by JSON, Unicode, NumPy and Arrow
    RuntimeError,  # an encrypted member of a zip file; JSON that is nested too deeply
    MemoryError,  # an array or a table that claims to be huge
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)
"""Errors of damaged or hostile files."""


class UndecodableError(Exception):
    """The file does not have the format that its signature or name indicates."""


@dataclass
class Budget:
    """How many bytes may still be decompressed of one file, which may be a decompression bomb."""

    bytes: int = 4 * 2**30

    def spend(self, count: int) -> None:
        """Count decompressed bytes.

        Raises:
            UndecodableError: there are too many.
        """
        self.bytes -= count
        if self.bytes < 0:
            raise UndecodableError("too large when decompressed")


def decompressor(head: bytes) -> Callable[[BinaryIO], Iterator[bytes]] | None:
    """The function that decompresses a file with these first bytes."""
    return next((found for magic, found in _FORMATS.items() if head.startswith(magic)), None)


def read_parts(content: Any) -> Iterator[bytes]:
    """The bytes of a file object in small parts, so that those before an error are not lost."""
    while part := content.read1(BLOCK):
        yield part


def blocks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Parts joined to blocks of about `BLOCK` bytes. After an error, the bytes read come first."""
    block = bytearray()
    try:
        for part in parts:
            block += part
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
    except DAMAGED:
        yield bytes(block)
        raise
    yield bytes(block)


def _read_decompressed(opener: Callable[[BinaryIO], Any], stream: BinaryIO) -> Iterator[bytes]:
    with opener(stream) as content:
        yield from read_parts(content)


def _zstd(stream: BinaryIO) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd") as content:
        while part := content.read(2**16):
            yield part


def _zlib(stream: BinaryIO) -> Iterator[bytes]:
    decompress = zlib.decompressobj()
    while (read := stream.read(2**16)) and not decompress.eof:
        while read:
            yield decompress.decompress(read, BLOCK)
            read = decompress.unconsumed_tail
    if not decompress.eof:
        raise EOFError("the end is missing")


_FORMATS: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {
    b"\x1f\x8b": partial(_read_decompressed, gzip.open),
    b"BZh": partial(_read_decompressed, bz2.open),
    b"\xfd7zX": partial(_read_decompressed, lzma.open),
    b"\x28\xb5\x2f\xfd": _zstd,
    **dict.fromkeys((b"x\1", b"x\x5e", b"x\x9c", b"x\xda"), _zlib),
}
