"""Small files that cost a decoder much memory or time, as large as the limits allow.

Each is built for a number of megapixels; tests build smaller ones in the same way.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.fuzz import foreign
from tests.fuzz.containers import (
    END_OF_JPEG,
    END_OF_PNG,
    MEBIBYTE,
    Random,
    after_start,
    chunk,
    encoded,
    header,
    pick,
    positions,
    segment,
    zeros,
)

_PIXEL = chunk(b"IDAT", zlib.compress(bytes(4)))
_COLOUR_TYPES = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG's colour types, with their numbers of channels


def _sides(random: Random, megapixels: float) -> tuple[int, int]:
    """Sides of a square or a thin strip with that many pixels; a side is at most 65,535."""
    pixels = int(megapixels * 1e6)
    longest = min(pixels, 65_000)
    width = pick(random, [int(pixels**0.5), longest, max(1, pixels // longest)])
    return width, min(max(1, pixels // width), longest)


def _png_large(random: Random, megapixels: float) -> bytes:
    width, height = _sides(random, megapixels)
    colour, channels = list(_COLOUR_TYPES.items())[int(random.integers(4))]
    depth = pick(random, [8, 16])
    pixels = zeros((width * channels * depth // 8 + 1) * height)
    interlace = int(random.integers(2))
    return header(width, height, depth, colour, interlace) + chunk(b"IDAT", pixels) + END_OF_PNG


def _png_wide(random: Random, megapixels: float) -> bytes:
    width = int(megapixels * 1e6)
    size = (width, 1) if random.random() < 0.5 else (1, width)
    return header(*size, 16, 6) + chunk(b"IDAT", zeros(width * 8 + size[1])) + END_OF_PNG


def _png_too_many_pixel_bytes(random: Random, megapixels: float) -> bytes:
    side = pick(random, [1, 30])
    bomb = zeros(int(megapixels * 20e6))
    return header(side, side) + chunk(b"IDAT", bomb) + END_OF_PNG


def _png_text(random: Random, megapixels: float) -> bytes:
    bomb = zeros(int(megapixels * 10e6))
    text = chunk(b"zTXt", b"Comment\0\0" + bomb)
    text += chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)
    place = pick(random, [(text, b""), (b"", text)])
    return header(1, 1) + place[0] + _PIXEL + place[1] + END_OF_PNG


def _png_profiles(random: Random, megapixels: float) -> bytes:
    """Profiles just below the megabyte that Pillow decompresses of each."""
    profile = chunk(b"iCCP", b"profile\0\0" + zeros(MEBIBYTE - 1))
    one = chunk(b"iCCP", b"profile\0\0" + zeros(int(megapixels * 10e6)))
    many = profile * int(megapixels * 400)
    return header(1, 1) + (many if random.random() < 0.7 else one) + _PIXEL + END_OF_PNG


def _png_many_chunks(random: Random, megapixels: float) -> bytes:
    kind = pick(random, [b"IDAT", b"tEXt", b"gAMA", b"eXIf"])
    return header(1, 1) + _PIXEL + chunk(kind, b"") * int(megapixels * 40_000) + END_OF_PNG


def _jpeg_large(random: Random, megapixels: float) -> bytes:
    picture = Image.new(pick(random, ["L", "RGB", "CMYK"]), _sides(random, megapixels))
    progressive, sampling = bool(random.integers(2)), int(random.integers(3))
    return encoded(picture, "JPEG", progressive=progressive, subsampling=sampling)


def _jpeg_scans(random: Random, megapixels: float) -> bytes:
    """A progressive file whose last scan is repeated, up to the maximum number of scans."""
    sides = _sides(random, megapixels / pick(random, [1, 5, 25]))
    data = encoded(Image.new("RGB", sides), "JPEG", progressive=True, subsampling=0)
    last = data[positions(data, 0xDA)[-1] : -2]
    return data[:-2] + last * pick(random, [10, 90, 480, 2000]) + END_OF_JPEG


def _jpeg_arithmetic(random: Random, megapixels: float) -> bytes:
    """Baseline or progressive data marked as arithmetic coding, which is slower to decode."""
    width, height = _sides(random, megapixels)
    data = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=random.random() < 0.5))
    (frame,) = positions(bytes(data), 0xC0) + positions(bytes(data), 0xC2)
    data[frame + 1] = 0xC9 if data[frame + 1] == 0xC0 else 0xCA
    struct.pack_into(">HH", data, frame + 5, height, width)
    noise = random.bytes(int(megapixels * 20_000)).replace(b"\xff", b"\xfe")
    return bytes(data[:-2]) + noise + END_OF_JPEG


def _jpeg_noise(random: Random, megapixels: float) -> bytes:
    """Noise, which has more coded bits than a flat picture and is slower to decode."""
    side = int((megapixels * 1e6 / 4) ** 0.5)
    noise = random.integers(0, 256, (side, side, 3), np.uint8)
    progressive = bool(random.integers(2))
    return encoded(Image.fromarray(noise), "JPEG", quality=90, progressive=progressive)


def _jpeg_restarts(random: Random, megapixels: float) -> bytes:
    """Restart markers are announced for every block, but missing."""
    data = encoded(Image.new("RGB", _sides(random, megapixels)), "JPEG")
    return after_start(data, segment(0xDD, b"\0\1"))


def _jpeg_many_parts(random: Random, megapixels: float) -> bytes:
    parts = [b"\xff\xfe\0\2", b"\xff\xd0", b"\xff\1", b"\xff", b"\xff\xdd\0\4\0\0", b"\xff\xdb\0\2"]
    part = pick(random, parts)
    data = encoded(Image.new("RGB", (9, 9)), "JPEG")
    return after_start(data, part * int(megapixels * 80_000))


def _gif_many_blocks(random: Random, megapixels: float) -> bytes:
    block = pick(random, [b"\1a", b"\0!\xfe", b"\0,123456789"])
    return b"GIF89a" + bytes(7) + b"!\xfe\1a" + block * int(megapixels * 900_000 / len(block))


def _large_noise(random: Random, megapixels: float) -> bytes:
    """The start of a picture, then noise up to the maximum size that ingest reads."""
    start = pick(random, [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0\2", b"BM"])
    return bytes(start) + random.bytes(int(megapixels * MEBIBYTE * 0.9))


BOMBS: dict[str, Callable[[Random, float], bytes]] = {
    "png_large": _png_large,
    "png_wide": _png_wide,
    "png_too_many_pixel_bytes": _png_too_many_pixel_bytes,
    "png_text_bomb": _png_text,
    "png_profile_bomb": _png_profiles,
    "png_many_chunks": _png_many_chunks,
    "jpeg_large": _jpeg_large,
    "jpeg_scans": _jpeg_scans,
    "jpeg_arithmetic": _jpeg_arithmetic,
    "jpeg_noise": _jpeg_noise,
    "jpeg_restarts": _jpeg_restarts,
    "jpeg_many_parts": _jpeg_many_parts,
    "gif_many_blocks": _gif_many_blocks,
    "large_noise": _large_noise,
    **foreign.BOMBS,
}
