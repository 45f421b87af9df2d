"""Parses PNG files: reads the header and removes all bytes that decoding does not need.

No pixel is decoded here, but the compressed rows are inflated once to check for trailing data.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from spark_src.images.containers import MAX_PARTS, Header, MalformedContainer, TruncatedContainer
from spark_src.images.orientation import orientation_of

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, TRUECOLOUR, PALETTE, GREY_ALPHA, TRUECOLOUR_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, TRUECOLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, TRUECOLOUR_ALPHA: 4}
TRANSPARENT_COLOUR_BYTES = {GREY: 2, TRUECOLOUR: 6}

# Adam7: first column and row of each pass, and its steps.
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
INFLATED_AT_ONCE = 2**20


class Chunk(NamedTuple):
    """One PNG chunk: `data[start:end]` has its length, kind, payload and checksum."""

    kind: bytes
    start: int
    end: int


class _Ihdr(NamedTuple):
    """The fields of the IHDR chunk."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filter: int
    interlace: int


def strip_png(data: bytes) -> bytes:
    """Return the PNG with only the chunks that define its pixels, without excess bytes.

    These are IHDR, IDAT and IEND, the palette of indexed colours, and transparency. Colour profiles
    and other chunks are dropped: no decoder of this project applies them.

    Raises MalformedContainer, also for a wrong checksum in a kept chunk, because Pillow does not
    check it in IDAT (TruncatedContainer if the bytes end before IEND).
    """
    kept = [PNG_SIGNATURE]
    header: _Ihdr | None = None
    palette_length = 0
    seen: set[bytes] = set()
    view = memoryview(data)  # avoids a copy of the pixels for the checksum
    for kind, start, end in _chunks(data):
        length = end - start - 12
        if header is None:
            header = _ihdr(data)
        if not _is_kept(kind, header.colour, seen):
            continue
        if kind in seen:
            raise MalformedContainer(f"the PNG has two {kind.decode()} chunks")
        seen |= {kind} - {b"IDAT"}
        if zlib.crc32(view[start + 4 : end - 4]).to_bytes(4, "big") != view[end - 4 : end]:
            raise MalformedContainer(f"the checksum of the PNG's {kind.decode()} chunk is wrong")
        palette_length = length // 3 if kind == b"PLTE" else palette_length
        wanted = _payload_length(kind, length, header, palette_length)
        if wanted == length:
            kept.append(data[start:end])
        elif wanted is not None:
            kept.append(make_chunk(kind, data[start + 8 : start + 8 + wanted]))
    return b"".join(kept)


def _is_kept(kind: bytes, colour: int, seen: set[bytes]) -> bool:
    if kind == b"PLTE":
        return colour == PALETTE
    if kind == b"tRNS":  # the first one applies, as in libpng
        return colour in (GREY, TRUECOLOUR, PALETTE) and kind not in seen
    return kind in {b"IHDR", b"IDAT", b"IEND"}


def _payload_length(kind: bytes, length: int, header: _Ihdr, palette_length: int) -> int | None:
    """Valid length of a chunk's payload; None if the chunk has to be dropped."""
    if kind == b"IEND":
        return 0
    if kind == b"PLTE":
        if length % 3 or not 1 <= length // 3 <= 256:
            raise MalformedContainer(f"the PNG's palette has {length} bytes")
        return min(length, 3 << header.depth)
    if kind == b"tRNS":
        if header.colour == PALETTE:
            return min(length, palette_length)
        wanted = TRANSPARENT_COLOUR_BYTES[header.colour]
        return wanted if length >= wanted else None
    return length


def has_only_pixels(content: bytes) -> bool:
    """Whether the compressed data of a stripped PNG contain nothing but its rows.

    Checks for extra rows, bytes after the compressed data, unused bits at the end of a row, and a
    transparent colour with more bits than the pixels.
    """
    header = _ihdr(content)
    bits = CHANNELS.get(header.colour, 0) * header.depth
    if not bits or (bits < 8 and header.width * bits % 8):
        return False
    expected = _row_bytes(header, bits)
    inflate = zlib.decompressobj()
    for kind, start, end in _chunks(content):
        if kind == b"tRNS" and header.colour != PALETTE and header.depth < 16:
            values = struct.unpack(f">{(end - start - 12) // 2}H", content[start + 8 : end - 4])
            if max(values) >> header.depth:
                return False
        if kind != b"IDAT":
            continue
        pending = content[start + 8 : end - 4]
        while pending:
            if inflate.eof:
                return False
            try:
                expected -= len(inflate.decompress(pending, INFLATED_AT_ONCE))
            except zlib.error:
                return False
            pending = inflate.unconsumed_tail
            if expected < 0 or inflate.unused_data:
                return False
    return expected == 0 and inflate.eof


def blank_unused_colours(content: bytes, histogram: list[int]) -> bytes:
    """Replace palette entries that no pixel uses by opaque black."""
    parts = [PNG_SIGNATURE]
    blank = {b"PLTE": (3, b"\x00\x00\x00"), b"tRNS": (1, b"\xff")}
    for kind, start, end in _chunks(content):
        if kind not in blank:
            parts.append(content[start:end])
            continue
        width, none = blank[kind]
        entries = content[start + 8 : end - 4]
        used = [
            entries[start : start + width] if histogram[start // width] else none
            for start in range(0, len(entries), width)
        ]
        parts.append(make_chunk(kind, b"".join(used)))
    return b"".join(parts)


def _row_bytes(header: _Ihdr, bits: int) -> int:
    """Total bytes of the inflated rows, including the filter byte of each."""
    if not header.interlace:
        return header.height * (1 + (header.width * bits + 7) // 8)
    total = 0
    for column, row, step_right, step_down in PASSES:
        width = (header.width - column + step_right - 1) // step_right
        height = (header.height - row + step_down - 1) // step_down
        if width > 0 and height > 0:
            total += height * (1 + (width * bits + 7) // 8)
    return total


def read_png_header(data: bytes) -> Header:
    """Read size, orientation and APNG frame count. Ignores damage after the IHDR chunk.

    Raises MalformedContainer if the IHDR chunk cannot be read.
    """
    ihdr = _ihdr(data)
    exif, frame_count, in_pixels = b"", 1, False
    try:
        for kind, start, end in _chunks(data):
            in_pixels = in_pixels or kind == b"IDAT"
            if kind == b"eXIf":
                exif = exif or data[start + 8 : end - 4]
            # An acTL chunk after the pixels is invalid and ignored by readers.
            if kind == b"acTL" and not in_pixels and end - start >= 20:
                frame_count = int.from_bytes(data[start + 8 : start + 12], "big")
    except MalformedContainer:
        pass  # `strip_png` reports it after the size has been checked
    return Header(ihdr.width, ihdr.height, orientation_of(exif, xmp=b""), frame_count)


def make_chunk(kind: bytes, payload: bytes) -> bytes:
    """Build a chunk with length and checksum."""
    checksum = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">L4s", len(payload), kind) + payload + checksum.to_bytes(4, "big")


def _ihdr(data: bytes) -> _Ihdr:
    start = len(PNG_SIGNATURE)
    if len(data) < start + 25:
        raise TruncatedContainer("the PNG ends before its header")
    length, kind = struct.unpack_from(">L4s", data, start)
    if kind != b"IHDR":
        raise MalformedContainer(f"the PNG begins with {kind!r} instead of IHDR")
    if length != 13:
        raise MalformedContainer(f"the PNG's IHDR chunk has {length} bytes instead of 13")
    ihdr = _Ihdr(*struct.unpack_from(">LLBBBBB", data, start + 8))
    if ihdr.compression or ihdr.filter or ihdr.interlace > 1:
        raise MalformedContainer(
            "the PNG's IHDR chunk has an unknown compression, filter or interlace method"
        )
    return ihdr


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND. Raises TruncatedContainer if IEND is missing."""
    if not data.startswith(PNG_SIGNATURE):
        raise MalformedContainer("the file does not begin with the PNG signature")
    start, part_count = len(PNG_SIGNATURE), 0
    while start + 12 <= len(data):
        part_count += 1
        if part_count > MAX_PARTS:
            raise MalformedContainer(f"the PNG has more than {MAX_PARTS} chunks")
        length, kind = struct.unpack_from(">L4s", data, start)
        if not kind.isalpha():
            raise MalformedContainer(f"the PNG has {kind!r} where a chunk should begin")
        end = start + 12 + length
        if end > len(data):
            raise TruncatedContainer(f"the PNG ends inside its {kind.decode()} chunk")
        yield Chunk(kind, start, end)
        if kind == b"IEND":
            return
        start = end
    raise TruncatedContainer("the PNG ends before its IEND chunk")
