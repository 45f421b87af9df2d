"""The byte structure of JPEG and PNG files: facts in their headers, and removal of metadata.

Nothing here decodes a pixel or decompresses anything; judging a picture belongs in `pictures`.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_ROTATION = 1

START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
APP0, APP1, APP2, APP14, COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
# C4, C8 and CC sit inside the frame range but are Huffman tables, reserved, arithmetic coding.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# DHT, DAC, DQT, DNL, DRI: the decoder needs these besides frames and scans.
TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
APPLICATION_OR_COMMENT = frozenset({*range(0xE0, 0xF0), COMMENT})
WITH_LENGTH = FRAMES | TABLES | APPLICATION_OR_COMMENT | {START_OF_SCAN}
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})

# Like libjpeg, skip junk, stuffed zeros and fill bytes until the next marker...
MARKER = re.compile(rb"\xff[\x01-\xfe]")
# ...but restart markers and codes below C0 do not end the entropy-coded data of a scan.
AFTER_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")

EXIF_PREFIX = b"Exif\x00\x00"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]")
ORIENTATION_TAG = 0x0112
INTEGER_FORMATS = {1: "B", 3: "H", 4: "L"}  # keyed by TIFF field type

# Progressive files have about ten. Each costs the decoder a pass over all pixels yet may be a few
# bytes long, so a small file with very many of them would keep it busy for hours.
MAX_SCANS = 500

PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"IDAT", b"IEND"}
)


class MalformedContainer(ValueError):
    """The file's structure cannot be followed; the message names what is wrong."""


class TruncatedContainer(MalformedContainer):
    """The file's structure is sound as far as it goes, but its bytes end too early."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: pixels as stored, EXIF orientation (1 to 8), frame count."""

    width: int
    height: int
    orientation: int = NO_ROTATION
    frame_count: int = 1


class Segment(NamedTuple):
    """One JPEG segment: `data[start:end]` has the marker and, for a scan, its entropy data."""

    marker: int
    start: int
    end: int


class Chunk(NamedTuple):
    """One PNG chunk: `data[start:end]` has its length, kind, payload and checksum."""

    kind: bytes
    start: int
    end: int


def strip_jpeg(data: bytes) -> bytes:
    """Return the primary JPEG picture without metadata, its coded pixels untouched.

    A missing end-of-image marker is left missing: whether enough was read is the decoder's call.
    Raises MalformedContainer (TruncatedContainer when the bytes end before the picture data).
    """
    kept = [data[:2]]
    scan_count = 0
    marker = START_OF_IMAGE
    for marker, start, end in _jpeg_segments(data):
        scan_count += marker == START_OF_SCAN
        if scan_count > MAX_SCANS:
            raise MalformedContainer(f"the JPEG has more than {MAX_SCANS} scans")
        kept.append(_clean_segment(marker, data[start:end]))
    if scan_count:
        return b"".join(kept)
    if marker == END_OF_IMAGE:
        raise MalformedContainer("the JPEG has no picture data")
    raise TruncatedContainer("the JPEG ends before its picture data")


def strip_png(data: bytes) -> bytes:
    """Return the PNG with only the chunks that make up its pixels and their colours.

    Raises MalformedContainer, also for a wrong checksum in a chunk that is kept, because Pillow
    would not notice it in IDAT (TruncatedContainer when the bytes end before IEND).
    """
    kept = [PNG_SIGNATURE]
    view = memoryview(data)  # spares a second copy of the pixels for the checksum
    for kind, start, end in _png_chunks(data):
        if kind not in PNG_KEPT:
            continue
        if zlib.crc32(view[start + 4 : end - 4]).to_bytes(4, "big") != view[end - 4 : end]:
            raise MalformedContainer(f"the checksum of the PNG's {kind.decode()} chunk is wrong")
        kept.append(data[start:end])
    return b"".join(kept)


def read_jpeg_header(data: bytes) -> Header:
    """Read what comes before the first scan; damage after the frame header is not reported.

    Raises MalformedContainer when no frame header can be reached.
    """
    size: tuple[int, int] | None = None
    exif, xmp = b"", b""
    try:
        for marker, start, end in _jpeg_segments(data):
            if marker == START_OF_SCAN:
                break
            if marker in FRAMES:
                size = _frame_size(data[start:end])
            if marker == APP1:
                payload = data[start + 4 : end]
                exif = exif or (payload if payload.startswith(EXIF_PREFIX) else b"")
                xmp = payload if payload.startswith(XMP_PREFIX) else xmp
    except MalformedContainer:
        if size is None:
            raise
    if size is None:
        raise TruncatedContainer("the JPEG ends before its frame header")
    return Header(*size, orientation=_orientation(exif, xmp))


def read_png_header(data: bytes) -> Header:
    """Read size, orientation and APNG frames; damage after the IHDR chunk is not reported.

    Raises MalformedContainer when the IHDR chunk cannot be read.
    """
    if len(data) < len(PNG_SIGNATURE) + 25:
        raise TruncatedContainer("the PNG ends before its header")
    kind, width, height = struct.unpack_from(">4sLL", data, len(PNG_SIGNATURE) + 4)
    if kind != b"IHDR":
        raise MalformedContainer(f"the PNG begins with {kind!r} instead of IHDR")
    exif, frame_count, in_pixels = b"", 1, False
    try:
        for kind, start, end in _png_chunks(data):
            in_pixels = in_pixels or kind == b"IDAT"
            if kind == b"eXIf":
                exif = exif or data[start + 8 : end - 4]
            # One after the pixels is invalid, and readers ignore it.
            if kind == b"acTL" and not in_pixels and end - start >= 20:
                frame_count = int.from_bytes(data[start + 8 : start + 12], "big")
    except MalformedContainer:
        pass  # `strip_png` reports it, once the size has been judged
    return Header(width, height, _orientation(exif, xmp=b""), frame_count)


def _jpeg_segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments after the start of the image, up to its end or that of the bytes."""
    if not data.startswith(JPEG_SIGNATURE):
        raise MalformedContainer("the file does not begin with a JPEG marker")
    position = 2
    while found := MARKER.search(data, position):
        start = found.start()
        marker = data[start + 1]
        position = start + 2
        if marker in NO_LENGTH:
            continue
        if marker == END_OF_IMAGE:
            yield Segment(marker, start, position)
            return
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


def _clean_segment(marker: int, segment: bytes) -> bytes:
    """Return what to keep of a segment: all, a shortened form, or nothing."""
    if marker not in APPLICATION_OR_COMMENT:
        return segment
    payload = segment[4:]
    if marker == APP0 and payload.startswith(b"JFIF\x00") and len(payload) >= 14:
        return b"\xff\xe0\x00\x10" + payload[:12] + b"\x00\x00"  # a thumbnail of 0 x 0 pixels
    if marker == APP2 and payload.startswith(b"ICC_PROFILE\x00"):
        return segment
    # It says whether colours are YCbCr, RGB, CMYK or YCCK.
    if marker == APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        return b"\xff\xee\x00\x0e" + payload[:12]
    return b""


def _frame_size(segment: bytes) -> tuple[int, int]:
    if len(segment) < 9:
        raise MalformedContainer("the JPEG frame header is too short")
    height, width = struct.unpack_from(">HH", segment, 5)
    return width, height


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, whose absence raises TruncatedContainer."""
    if not data.startswith(PNG_SIGNATURE):
        raise MalformedContainer("the file does not begin with the PNG signature")
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(data):
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


def _orientation(exif: bytes, xmp: bytes) -> int:
    """Return the orientation, 1 to 8, from EXIF if it has one, else from XMP, else 1."""
    from_exif = _exif_orientation(exif)
    if from_exif is not None:
        return from_exif if 1 <= from_exif <= 8 else NO_ROTATION
    from_xmp = XMP_ORIENTATION.search(xmp)
    return int(from_xmp[1]) if from_xmp else NO_ROTATION


def _exif_orientation(exif: bytes) -> int | None:
    """Return the orientation tag, of any value, of an EXIF block; None if absent or unreadable.

    Read by hand because Pillow would have to open the file a second time, with its metadata, and
    to parse all tags, warning about damage in any of them.
    """
    exif = exif.removeprefix(EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(order + "L", exif, 4)
        (tag_count,) = struct.unpack_from(order + "H", exif, offset)
        for position in range(offset + 2, offset + 2 + 12 * tag_count, 12):
            tag, field_type, value_count = struct.unpack_from(order + "HHL", exif, position)
            if tag == ORIENTATION_TAG and field_type in INTEGER_FORMATS and value_count == 1:
                value_format = order + INTEGER_FORMATS[field_type]
                return int(struct.unpack_from(value_format, exif, position + 8)[0])
    except struct.error:
        return None
    return None
