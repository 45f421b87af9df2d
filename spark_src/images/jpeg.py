"""Parses JPEG files: reads the header and removes all bytes that decoding does not need.

No pixel is decoded here. Tables are parsed in `jpeg_tables`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spark_src.images.containers import MAX_PARTS, Header, MalformedContainer, TruncatedContainer
from spark_src.images.jpeg_tables import (
    HUFFMAN,
    RESTART_INTERVAL,
    TABLES,
    Table,
    TableUsage,
    has_plain_symbols,
    parse_tables,
)
from spark_src.images.orientation import EXIF_PREFIX, orientation_of

JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"

START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
APP0, APP1, APP14, COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
# C4, C8 and CC are in the frame range but mean Huffman tables, reserved, and arithmetic coding.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
NUMBER_OF_LINES = 0xDC  # no decoder of this project reads it
APPLICATION_OR_COMMENT = frozenset({*range(0xE0, 0xF0), COMMENT})
WITH_LENGTH = FRAMES | TABLES | APPLICATION_OR_COMMENT | {START_OF_SCAN, NUMBER_OF_LINES}
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})

# Like libjpeg, skip junk, stuffed zeros and fill bytes until the next marker...
MARKER = re.compile(rb"\xff[\x01-\xfe]")
# ...but restart markers and codes below C0 do not end the entropy-coded data of a scan.
AFTER_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
IN_SCAN = re.compile(rb"\xff([^\x00])")

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
# Decoders only need these segments to be present, and the last byte of the Adobe segment.
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

# Progressive files have about ten. Each scan is a decoder pass over all pixels but can be a few
# bytes long, so a small file with very many scans would take hours to decode.
MAX_SCANS = 500
BYTES_PER_COEFFICIENT = 2  # in libjpeg


class Segment(NamedTuple):
    """One JPEG segment: `data[start:end]` has the marker and, for a scan, its entropy data."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True)
class Structure:
    """The segments of a file up to the first error, and that error."""

    segments: tuple[Segment, ...]
    error: MalformedContainer | None = None


def strip_jpeg(data: bytes, structure: Structure | None = None) -> bytes:
    """Return the primary JPEG picture without metadata, its coded pixels untouched.

    Keeps the frame, the scans, and the tables that scans refer to. Application segments that affect
    the interpretation of colours are replaced by minimal ones.

    A missing end-of-image marker is not added: the decoder decides whether the data are complete.
    Raises MalformedContainer (TruncatedContainer if the bytes end before the picture data).
    """
    structure = structure or find_segments(data)
    if structure.error:
        raise structure.error
    segments = structure.segments
    tables = {
        number: parse_tables(found.marker, data[found.start + 4 : found.end])
        for number, found in enumerate(segments)
        if found.marker in TABLES
    }
    used = _used_tables(data, segments, tables)
    colours = _colour_segments(data, segments)
    view = memoryview(data)  # a photo's scan is copied once, not twice
    kept: list[bytes | memoryview] = [data[:2]]
    for number, (marker, start, end) in enumerate(segments):
        if marker in TABLES:
            kept += [table.segment for table in _join_used(tables[number], used)]
        elif marker == START_OF_SCAN:
            kept.append(view[start : _without_fill(data, end)])
        elif marker in FRAMES or marker == END_OF_IMAGE:
            kept.append(data[start:end])
        elif number in colours:
            kept.append(colours[number])
    if any(found.marker == START_OF_SCAN for found in segments):
        return b"".join(kept)
    if segments and segments[-1].marker == END_OF_IMAGE:
        raise MalformedContainer("the JPEG has no picture data")
    raise TruncatedContainer("the JPEG ends before its picture data")


def _without_fill(data: bytes, end: int) -> int:
    """The end of a scan without the fill bytes before the next marker."""
    while data[end - 1] == 0xFF:
        end -= 1
    return end


def has_only_pixels(content: bytes, structure: Structure | None = None) -> bool:
    """Whether the scans and Huffman tables of a stripped JPEG contain nothing but the picture.

    Data after the last pixel of a scan can only be found by decoding: the decoder warns about it.
    """
    interval = 0
    for marker, start, end in (structure or find_segments(content)).segments:
        payload = b"" if marker == START_OF_SCAN else content[start + 4 : end]
        if marker == HUFFMAN and not all(map(has_plain_symbols, parse_tables(marker, payload))):
            return False
        if marker == RESTART_INTERVAL:
            interval = int.from_bytes(payload, "big")
        if marker == START_OF_SCAN and not _has_plain_scan(content[start:end], interval):
            return False
    return True


def _has_plain_scan(scan: bytes, interval: int) -> bool:
    """Whether the only markers in a scan are the restart markers of its interval."""
    coded = scan[2 + int.from_bytes(scan[2:4], "big") :]
    codes = [found[0] for found in IN_SCAN.findall(coded)]
    expected = [0xD0 + number % 8 for number in range(len(codes))] if interval else []
    return codes == expected


def read_jpeg_header(data: bytes, structure: Structure | None = None) -> Header:
    """Read the frame header and count the scans. Ignores damage after the frame header.

    Raises MalformedContainer if there is no readable frame header.
    """
    frame, exif, xmp = b"", b"", b""
    scan_count = 0
    structure = structure or find_segments(data)
    for marker, start, end in structure.segments:
        if marker == START_OF_SCAN:
            scan_count += 1
        elif marker in FRAMES and not scan_count:
            frame = data[start:end]
        elif marker == APP1 and not scan_count:
            payload = data[start + 4 : end]
            exif = exif or (payload if payload.startswith(EXIF_PREFIX) else b"")
            xmp = payload if payload.startswith(XMP_PREFIX) else xmp
    if structure.error and not frame:
        raise structure.error
    if not frame:
        raise TruncatedContainer("the JPEG ends before its frame header")
    width, height = _frame_size(frame)
    coefficients = _coefficients(frame, width * height) if scan_count > 1 else 0
    return Header(
        width,
        height,
        orientation=orientation_of(exif, xmp),
        scan_count=scan_count,
        coefficient_bytes=coefficients * BYTES_PER_COEFFICIENT,
    )


def find_segments(data: bytes) -> Structure:
    """Find the segments up to the first invalid one."""
    found: list[Segment] = []
    try:
        found.extend(_segments(data))
    except MalformedContainer as error:
        return Structure(tuple(found), error)
    return Structure(tuple(found))


def _segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments after the start-of-image marker, up to the end of the image or file."""
    if not data.startswith(JPEG_SIGNATURE):
        raise MalformedContainer("the file does not begin with a JPEG marker")
    position, part_count, scan_count = 2, 0, 0
    while found := MARKER.search(data, position):
        part_count += 1
        if part_count > MAX_PARTS:
            raise MalformedContainer(f"the JPEG has more than {MAX_PARTS} segments")
        start = found.start()
        marker = data[start + 1]
        position = start + 2
        if marker in NO_LENGTH:
            continue
        if marker == END_OF_IMAGE:
            yield Segment(marker, start, position)
            return
        scan_count += marker == START_OF_SCAN
        if scan_count > MAX_SCANS:
            raise MalformedContainer(f"the JPEG has more than {MAX_SCANS} scans")
        position = _segment_end(data, marker, position)
        yield Segment(marker, start, position)


def _segment_end(data: bytes, marker: int, position: int) -> int:
    if marker not in WITH_LENGTH:
        raise MalformedContainer(f"the JPEG has an unexpected marker FF {marker:02X}")
    length_field = data[position : position + 2]
    length = int.from_bytes(length_field, "big")
    if len(length_field) < 2 or position + length > len(data):
        raise TruncatedContainer(f"the JPEG ends inside its segment FF {marker:02X}")
    if length < 2:
        raise MalformedContainer(f"the JPEG segment FF {marker:02X} has length {length}")
    if marker != START_OF_SCAN:
        return position + length
    after_scan = AFTER_SCAN.search(data, position + length)
    return after_scan.start() if after_scan else len(data)


def _used_tables(
    data: bytes, segments: Sequence[Segment], tables: dict[int, Sequence[Table]]
) -> set[Table]:
    """The tables that a scan refers to before they are redefined."""
    uses = TableUsage()
    for number, (marker, start, end) in enumerate(segments):
        if marker in TABLES:
            uses.define(tables[number])
        elif marker in FRAMES:
            uses.begin_frame(marker, data[start + 4 : end])
        elif marker == START_OF_SCAN:
            header_end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            uses.begin_scan(data[start + 4 : header_end])
    return uses.used


def _join_used(tables: Sequence[Table], used: set[Table]) -> list[Table]:
    """The used tables of a segment, joined in one segment as in the file."""
    kept = [table for table in tables if table in used]
    return [Table.join(kept)] if kept else []


def _colour_segments(data: bytes, segments: Sequence[Segment]) -> dict[int, bytes]:
    """Index -> minimal replacement of the JFIF segment and of the effective Adobe segment."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for number, (marker, start, end) in enumerate(segments):
        if marker == START_OF_SCAN:
            break
        payload = data[start + 4 : end]
        if marker == APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= 14:
            found.setdefault(JFIF, (number, JFIF))
        # It states whether colours are YCbCr, RGB, CMYK or YCCK; the last one applies.
        if marker == APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
            found[ADOBE] = (number, ADOBE + payload[11:12])
    return dict(found.values())


def _frame_size(segment: bytes) -> tuple[int, int]:
    if len(segment) < 9:
        raise MalformedContainer("the JPEG frame header is too short")
    height, width = struct.unpack_from(">HH", segment, 5)
    return width, height


def _coefficients(frame: bytes, pixels: int) -> int:
    """Total number of coefficients of all components, accounting for subsampling."""
    factors = frame[11::3]  # sampling factors of each component: horizontal and vertical nibble
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    largest = max((factor >> 4 for factor in factors), default=0) * max(
        (factor & 15 for factor in factors), default=0
    )
    return pixels * sum(areas) // largest if largest else 0
