"""The byte structure of JPEG and PNG files: facts in their headers, and removal of metadata.

Nothing here decodes a pixel or decompresses anything; judging a picture belongs in `pictures`.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spark_src.images.exif import EXIF_PREFIX, NO_ROTATION, orientation_of

JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

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

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"

# Progressive files have about ten. Each costs the decoder a pass over all pixels yet may be a few
# bytes long, so a small file with very many of them would keep it busy for hours.
MAX_SCANS = 500
# Chunks of a PNG, or markers of a JPEG outside its scans. Real files of 50 MB have some thousands;
# each costs a decoder 15 us even where it is empty, and four million fit into 50 MB.
MAX_PARTS = 65_536
BYTES_PER_COEFFICIENT = 2  # in libjpeg

PNG_OPTIONAL = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"})
PNG_KEPT = PNG_OPTIONAL | {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


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
    scan_count: int = 1
    """How often the decoder passes over the pixels: a JPEG may say each bit of them by itself."""
    coefficient_bytes: int = 0
    """What the decoder keeps between several scans of a JPEG."""


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
        kept.append(_clean_segment(marker, data[start:end]))
    if scan_count:
        return b"".join(kept)
    if marker == END_OF_IMAGE:
        raise MalformedContainer("the JPEG has no picture data")
    raise TruncatedContainer("the JPEG ends before its picture data")


def strip_png(data: bytes) -> bytes:
    """Return the PNG with only the chunks that make up its pixels and their colours.

    Only the first of each optional kind is kept, as libpng does: thousands of colour profiles, each
    a megabyte when decompressed, would keep the decoder busy for minutes.

    Raises MalformedContainer, also for a wrong checksum in a chunk that is kept, because Pillow
    would not notice it in IDAT (TruncatedContainer when the bytes end before IEND).
    """
    kept = [PNG_SIGNATURE]
    seen: set[bytes] = set()
    view = memoryview(data)  # spares a second copy of the pixels for the checksum
    for kind, start, end in _png_chunks(data):
        if kind not in PNG_KEPT or kind in seen & PNG_OPTIONAL:
            continue
        if kind in seen:
            raise MalformedContainer(f"the PNG has two {kind.decode()} chunks")
        seen |= {kind} - {b"IDAT"}
        if zlib.crc32(view[start + 4 : end - 4]).to_bytes(4, "big") != view[end - 4 : end]:
            raise MalformedContainer(f"the checksum of the PNG's {kind.decode()} chunk is wrong")
        kept.append(data[start:end])
    return b"".join(kept)


def read_jpeg_header(data: bytes) -> Header:
    """Read the frame header, count the scans; damage after the frame header is not reported.

    Raises MalformedContainer when no frame header can be reached.
    """
    frame, exif, xmp = b"", b"", b""
    scan_count = 0
    try:
        for marker, start, end in _jpeg_segments(data):
            if marker == START_OF_SCAN:
                scan_count += 1
            elif marker in FRAMES and not scan_count:
                frame = data[start:end]
            elif marker == APP1 and not scan_count:
                payload = data[start + 4 : end]
                exif = exif or (payload if payload.startswith(EXIF_PREFIX) else b"")
                xmp = payload if payload.startswith(XMP_PREFIX) else xmp
    except MalformedContainer:
        if not frame:
            raise
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
    return Header(width, height, orientation_of(exif, xmp=b""), frame_count)


def _jpeg_segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments after the start of the image, up to its end or that of the bytes."""
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


def _coefficients(frame: bytes, pixels: int) -> int:
    """How many numbers the components have together, those of subsampled ones being fewer."""
    factors = frame[11::3]  # of each component: a nibble across, a nibble down
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    largest = max((factor >> 4 for factor in factors), default=0) * max(
        (factor & 15 for factor in factors), default=0
    )
    return pixels * sum(areas) // largest if largest else 0


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, whose absence raises TruncatedContainer."""
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
