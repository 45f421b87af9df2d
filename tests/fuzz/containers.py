"""Building blocks of valid and invalid PNG and JPEG files, for the fuzz mutants."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

Random = np.random.Generator
Option = TypeVar("Option")

PNG = b"\x89PNG\r\n\x1a\n"
END_OF_PNG = b"\x00\x00\x00\x00IEND\xaeB`\x82"
END_OF_JPEG = b"\xff\xd9"
MEBIBYTE = 2**20


def pick(random: Random, options: Sequence[Option]) -> Option:
    """Pick an option; NumPy's own `choice` would convert it to a NumPy type."""
    return options[int(random.integers(len(options)))]


def chunk(kind: bytes, payload: bytes) -> bytes:
    """A PNG chunk with a correct checksum."""
    checksum = zlib.crc32(kind + payload).to_bytes(4, "big")
    return struct.pack(">L", len(payload)) + kind + payload + checksum


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """The start of a PNG with any numbers in its header."""
    fields = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, interlace)
    return PNG + chunk(b"IHDR", fields)


def zeros(count: int) -> bytes:
    """Compressed zero bytes, at a ratio of 1,000: one block, repeated."""
    block = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    repeated = block.compress(bytes(MEBIBYTE)) + block.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    rest = last.compress(bytes(count % MEBIBYTE)) + last.flush()
    checksum = struct.pack(">HH", count % 65_521, 1)  # Adler-32 of zeros
    return b"\x78\xda" + repeated * (count // MEBIBYTE) + rest + checksum


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and payload of each chunk of a valid PNG."""
    found, start = [], len(PNG)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, start)
        found.append((kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks."""
    return PNG + b"".join(chunk(kind, payload) for kind, payload in parts)


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def after_start(jpeg: bytes, extra: bytes) -> bytes:
    """A JPEG with bytes inserted directly after its start."""
    return jpeg[:2] + extra + jpeg[2:]


def positions(jpeg: bytes, marker: int) -> list[int]:
    """Positions of a marker's two bytes."""
    pair, found, start = bytes((0xFF, marker)), [], 0
    while (start := jpeg.find(pair, start)) >= 0:
        found.append(start)
        start += 2
    return found


def encoded(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    """A picture encoded as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> Image.Image:
    """A small picture that is not flat."""
    return Image.radial_gradient("L").resize(size).convert(mode)
