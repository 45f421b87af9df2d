"""HEIC, WebP, AVIF, TIFF and BMP files for the fuzz: valid, damaged, and bombs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.containers import Random, encoded, gradient, pick

PICTURES = Path(__file__).parents[1] / "pictures"
"""HEIC files: pi-heif can only decode, so tests cannot create any."""

STARTS = (b"RIFF", b"II*\0", b"MM\0*", b"BM")


def seeds() -> list[bytes]:
    """A valid file of each format, in the relevant modes."""
    heic = [file.read_bytes() for file in sorted(PICTURES.glob("*.heic"))]
    webp = [encoded(gradient(mode), "WEBP", lossless=mode != "RGB") for mode in ("RGB", "RGBA")]
    avif = [encoded(gradient(mode), "AVIF") for mode in ("L", "RGB", "RGBA")]
    tiff = [
        encoded(gradient(mode), "TIFF", compression=compression)
        for mode in ("L", "RGB", "CMYK", "P", "1")
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")
    ]
    photographic = encoded(gradient(), "TIFF", compression="jpeg")
    bmp = [encoded(gradient(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")]
    return [*heic, *webp, *avif, *tiff, photographic, *bmp]


def is_foreign(data: bytes) -> bool:
    """Whether a file is of one of these formats."""
    return data.startswith(STARTS) or data[4:8] == b"ftyp"


def _foreign(random: Random, originals: Sequence[bytes]) -> bytearray:
    return bytearray(pick(random, [data for data in originals if is_foreign(data)]))


def _flipped(random: Random, originals: Sequence[bytes]) -> bytes:
    """Changed bytes in the header, which has sizes, offsets and counts."""
    data = _foreign(random, originals)
    for position in random.integers(12, min(len(data), 400), int(random.integers(1, 6))):
        data[position] = pick(random, [0, 1, 127, 255, int(random.integers(256))])
    return bytes(data)


def _truncated(random: Random, originals: Sequence[bytes]) -> bytes:
    data = _foreign(random, originals)
    return bytes(data[: int(random.integers(12, len(data)))])


def _sizes(random: Random, originals: Sequence[bytes]) -> bytes:
    """A number in the header replaced by a very large or odd one, in either byte order."""
    data = _foreign(random, originals)
    place = int(random.integers(12, min(len(data) - 4, 700)))
    number = pick(random, [0, 1, 16_383, 65_535, 2**24 - 1, 2**31 - 1, 2**32 - 1])
    struct.pack_into(pick(random, ["<L", ">L"]), data, place, number)
    return bytes(data)


def _heic_size(random: Random, originals: Sequence[bytes]) -> bytes:
    """A wrong size in the container of HEIC or AVIF, which is separate from the coded picture."""
    data = _foreign(random, [file for file in originals if b"ispe" in file])
    place = data.index(b"ispe") + 8
    struct.pack_into(">LL", data, place, *(pick(random, [0, 1, 64, 7000, 30_000]) for _ in "wh"))
    return bytes(data)


KINDS: dict[str, Callable[[Random, Sequence[bytes]], bytes]] = {
    "foreign_flipped": _flipped,
    "foreign_truncated": _truncated,
    "foreign_sizes": _sizes,
    "heic_size": _heic_size,
}


def _square(megapixels: float, mode: str = "RGB", longest: int = 65_535) -> Image.Image:
    side = min(int((megapixels * 1e6) ** 0.5), longest)
    return Image.new(mode, (side, side))


def _webp_large(random: Random, megapixels: float) -> bytes:
    mode = pick(random, ["RGB", "RGBA"])
    return encoded(_square(megapixels, mode, 16_383), "WEBP", lossless=mode == "RGBA", method=0)


def _avif_large(_: Random, megapixels: float) -> bytes:
    return encoded(_square(megapixels), "AVIF", speed=10, quality=10)


def _tiff_large(random: Random, megapixels: float) -> bytes:
    mode = pick(random, ["RGB", "RGBA", "CMYK", "L"])
    compression = pick(random, ["tiff_adobe_deflate", "packbits"])
    return encoded(_square(megapixels, mode), "TIFF", compression=compression)


def _tiff_many_pages(_: Random, megapixels: float) -> bytes:
    """Empty directories, each with the offset of the next."""
    count = int(megapixels * 1e5)
    pages = np.zeros(count, np.dtype([("entries", "<u2"), ("next", "<u4")]))
    pages["next"] = 8 + 6 * np.arange(1, count + 1)
    pages["next"][-1] = 0
    return b"II*\0" + struct.pack("<L", 8) + pages.tobytes()


def _bmp_runs(_: Random, megapixels: float) -> bytes:
    """Run-length encoding: a few bytes for very many pixels."""
    side = int((megapixels * 1e6) ** 0.5)
    runs = (b"\xff\0" * (side // 255 + 1) + b"\0\0") * side + b"\0\1"
    start = 54 + 4 * 256
    head = b"BM" + struct.pack("<LLL", start + len(runs), 0, start)
    about = struct.pack("<LllHHLLllLL", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return head + about + bytes(4 * 256) + runs


BOMBS: dict[str, Callable[[Random, float], bytes]] = {
    "webp_large": _webp_large,
    "avif_large": _avif_large,
    "tiff_large": _tiff_large,
    "tiff_many_pages": _tiff_many_pages,
    "bmp_runs": _bmp_runs,
}
