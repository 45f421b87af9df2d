"""Text hidden in parts of a JPEG or PNG that decoding does not need is never stored."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark_src.images.rejection import PictureRejected
from spark_src.images.validate import clean_picture
from tests.fuzz.containers import (
    END_OF_JPEG,
    after_start,
    chunk,
    chunks,
    encoded,
    header,
    png_of,
    positions,
    segment,
)

SECRET = b"SECRETGPS48.8584N2.2945E"
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8))
JPEG = encoded(NOISE, "JPEG")
PROGRESSIVE = encoded(NOISE, "JPEG", progressive=True)
RESTARTS = encoded(NOISE, "JPEG", restart_marker_blocks=1)
PNG = encoded(NOISE, "PNG")
COLOURS = encoded(NOISE.quantize(20), "PNG")


def huffman(number: int) -> bytes:
    counts = bytes([0, 0, 0, 0, 0, 0, 0, len(SECRET), *[0] * 8])
    return segment(0xC4, bytes([0x10 | number]) + counts + SECRET)


def quantisation(number: int, bits16: bool = False) -> bytes:
    values = SECRET + bytes([1]) * ((128 if bits16 else 64) - len(SECRET))
    return segment(0xDB, bytes([bits16 << 4 | number]) + values)


def before_end(extra: bytes, data: bytes = JPEG) -> bytes:
    return data[:-2] + extra + END_OF_JPEG


def with_rows_behind(rows: int) -> bytes:
    """A picture whose data have more rows than its header states."""
    data = bytearray(encoded(NOISE, "JPEG", subsampling=0))
    struct.pack_into(">H", data, positions(bytes(data), 0xC0)[0] + 5, 32 - rows)
    return bytes(data)


def symbols_unused() -> bytes:
    """Unused 16-bit codes in a used table."""
    (place,) = [place for place in positions(JPEG, 0xC4) if JPEG[place + 4] == 0x10]
    length = int.from_bytes(JPEG[place + 2 : place + 4], "big")
    counts = bytearray(JPEG[place + 5 : place + 21])
    symbols = JPEG[place + 21 : place + 2 + length]
    counts[15] -= len(SECRET)
    kept = symbols[: sum(counts)]
    counts[15] += len(SECRET)
    table = segment(0xC4, b"\x10" + bytes(counts) + kept + SECRET)
    return JPEG[:place] + table + JPEG[place + 2 + length :]


def png_with(kind: bytes, payload: bytes, before: bytes = b"IDAT", data: bytes = PNG) -> bytes:
    parts = chunks(data)
    place = next(number for number, part in enumerate(parts) if part[0] == before)
    return png_of([*parts[:place], (kind, payload), *parts[place:]])


def png_replaced(wanted: bytes, change: Callable[[bytes], bytes], data: bytes = PNG) -> bytes:
    return png_of([(k, change(p) if k == wanted else p) for k, p in chunks(data)])


def padded_bits() -> bytes:
    """Rows of one 1-bit pixel and seven padding bits."""
    rows = b"".join(b"\0" + bytes([byte & 127]) for byte in SECRET)
    return header(1, len(SECRET), 1, 0) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_with_unused(data: bytes) -> bytes:
    return png_replaced(b"PLTE", lambda entries: entries + SECRET, data)


CRAFTED = {
    "tail of a scan": before_end(SECRET),
    "tail of a scan behind a parameterless marker": before_end(b"\xff\x01" + SECRET),
    "tail of a scan behind a restart marker": before_end(b"\xff\xd0" + SECRET),
    "tail of a progressive scan": before_end(SECRET, PROGRESSIVE),
    "tail of a scan with restarts": before_end(SECRET, RESTARTS),
    "before a restart marker": RESTARTS.replace(b"\xff\xd1", SECRET + b"\xff\xd1", 1),
    "rows behind the last": with_rows_behind(16),
    "fill bytes": before_end(SECRET + b"\xff" * 9),
    "Huffman table that no scan uses": after_start(JPEG, huffman(3)),
    "Huffman table that is replaced": after_start(JPEG, huffman(0)),
    "Huffman codes that no pixel has": symbols_unused(),
    "quantisation that no component uses": after_start(JPEG, quantisation(3)),
    "quantisation that is replaced": after_start(JPEG, quantisation(0)),
    "quantisation of 16 bits": after_start(JPEG, quantisation(2, bits16=True)),
    "number of lines": after_start(JPEG, segment(0xDC, SECRET)),
    "restart interval": after_start(JPEG, segment(0xDD, SECRET)),
    "arithmetic conditioning": after_start(JPEG, segment(0xCC, SECRET)),
    "JFIF version and density": after_start(
        JPEG[:2] + JPEG[20:], segment(0xE0, b"JFIF\0" + SECRET)
    ),
    "colour profile": encoded(NOISE, "JPEG", icc_profile=SECRET * 9),
    "Adobe's version and flags": after_start(JPEG, segment(0xEE, b"Adobe" + SECRET[:6] + b"\1")),
    "PNG: behind the compressed rows": png_replaced(b"IDAT", lambda data: data + SECRET),
    "PNG: rows behind the last": png_replaced(
        b"IDAT", lambda data: zlib.compress(zlib.decompress(data) + SECRET * 4)
    ),
    "PNG: IEND": png_replaced(b"IEND", lambda _: SECRET),
    "PNG: IHDR": png_replaced(b"IHDR", lambda data: data + SECRET),
    "PNG: transparency of true colours": png_with(b"tRNS", bytes(6) + SECRET),
    "PNG: unused transparency": png_with(b"tRNS", bytes(20) + SECRET, data=COLOURS),
    "PNG: unused colours": palette_with_unused(COLOURS),
    "PNG: palette of true colours": png_with(b"PLTE", SECRET),
    "PNG: colour profile": encoded(NOISE, "PNG", icc_profile=SECRET),
    "PNG: background": png_with(b"bKGD", SECRET),
    "PNG: gamma": png_with(b"gAMA", SECRET),
    "PNG: bits at the ends of rows": padded_bits(),
}


def inflated(data: bytes) -> bytes:
    """Everything that can be decompressed at any possible start of a zlib stream."""
    found = [data]
    for place in range(len(data) - 1):
        if data[place] & 15 == 8 and not int.from_bytes(data[place : place + 2], "big") % 31:
            stream = zlib.decompressobj()
            try:
                found.append(stream.decompress(data[place:], 10**6))
            except zlib.error:
                continue
    return b"\n".join(found)


def shown(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA").tobytes()


def kept_of(data: bytes) -> bytes | None:
    """The stored content of a file, or None if it is rejected."""
    try:
        return clean_picture(data).content
    except PictureRejected:
        return None


@pytest.mark.parametrize("name", CRAFTED)
def test_a_hidden_text_is_not_stored_and_no_pixel_changes(name: str) -> None:
    kept = kept_of(CRAFTED[name])
    if kept is not None:
        assert SECRET not in inflated(kept)
        assert shown(kept) == shown(CRAFTED[name])


def test_files_that_decode_without_their_hidden_text_are_not_rejected() -> None:
    rejected = {name for name, data in CRAFTED.items() if kept_of(data) is None}
    assert rejected == {"restart interval", "arithmetic conditioning", "PNG: IHDR"}


@pytest.mark.parametrize("name", CRAFTED)
def test_cleaning_twice_changes_nothing(name: str) -> None:
    kept = kept_of(CRAFTED[name])
    if kept is not None:
        assert clean_picture(kept).content == kept


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 95}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_hidden_data_keeps_every_byte(mode: str, options: dict[str, int]) -> None:
    data = encoded(NOISE.convert(mode), "JPEG", **options)
    if mode != "CMYK":  # only the transform of the Adobe segment is kept
        assert clean_picture(data).content == data
    assert shown(clean_picture(data).content) == shown(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "1"])
def test_a_png_without_hidden_data_keeps_every_byte(mode: str) -> None:
    data = encoded(NOISE.convert(mode), "PNG")
    assert clean_picture(data).content == data


def test_a_palette_keeps_the_colours_that_pixels_have() -> None:
    kept = clean_picture(palette_with_unused(COLOURS)).content
    assert shown(kept) == shown(COLOURS)
    assert dict(chunks(kept))[b"PLTE"][60:] == bytes(24)


def test_the_57_crafted_pictures_contain_no_text(shared: Path) -> None:
    files = sorted((shared / "data" / "hidden-metadata").glob("*.[jp][pn]g"))
    assert len(files) == 57
    kept = {file.name: kept_of(file.read_bytes()) for file in files}
    assert [name for name, data in kept.items() if data and SECRET in inflated(data)] == []
    assert sum(data is None for data in kept.values()) <= 7
