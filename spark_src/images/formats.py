"""Detects a file's format by its signature, and animations by structure. Decodes nothing."""

from __future__ import annotations

import enum

from spark_src.images.containers import MAX_PARTS
from spark_src.images.jpeg import JPEG_SIGNATURE
from spark_src.images.png import PNG_SIGNATURE


class Format(enum.StrEnum):
    """The formats that are recognised."""

    JPEG = "JPEG"
    PNG = "PNG"
    HEIC = "HEIC"
    WEBP = "WebP"
    AVIF = "AVIF"
    TIFF = "TIFF"
    BMP = "BMP"
    GIF = "GIF"


READABLE = frozenset(Format) - {Format.GIF}

SIGNATURES = {
    JPEG_SIGNATURE: Format.JPEG,
    PNG_SIGNATURE: Format.PNG,
    b"GIF87a": Format.GIF,
    b"GIF89a": Format.GIF,
    b"II*\x00": Format.TIFF,
    b"MM\x00*": Format.TIFF,
    b"II+\x00": Format.TIFF,
    b"MM\x00+": Format.TIFF,
}
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
SEQUENCE_BRANDS = frozenset({b"hevc", b"hevx", b"msf1", b"avis"})
WEBP_ANIMATION_FLAG = 0x02
GIF_IMAGE = ord(",")


def format_of(data: bytes) -> Format | None:
    """The format of a file by its first bytes, or None if it is not a known picture format."""
    for signature, found in SIGNATURES.items():
        if data.startswith(signature):
            return found
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    # Any text may begin with "BM", so the reserved zeros of a bitmap header are checked, too.
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return Format.BMP
    return _iso_media_format(data) if data[4:8] == b"ftyp" else None


def is_animation(data: bytes, file_format: Format) -> bool:
    """Whether the file structure marks the picture as an animation."""
    if file_format is Format.GIF:
        return _is_animated_gif(data)
    if file_format is Format.WEBP:
        is_extended = data[12:16] == b"VP8X" and len(data) > 20
        return is_extended and bool(data[20] & WEBP_ANIMATION_FLAG)
    if file_format in (Format.HEIC, Format.AVIF):
        return data[8:12] in SEQUENCE_BRANDS
    return False


def _iso_media_format(data: bytes) -> Format | None:
    """Distinguish HEIC and AVIF from videos and other files in the same container format."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in (8, *range(16, size, 4))}
    if brands & AVIF_BRANDS:
        return Format.AVIF
    return Format.HEIC if brands & HEIC_BRANDS else None


def _is_animated_gif(data: bytes) -> bool:
    """Whether the GIF has a second image. Pillow might allocate a canvas of any size for this."""
    image_count, block_count = 0, 0
    try:
        position = 13 + _gif_palette_length(data[10])
        while image_count < 2 and block_count < MAX_PARTS and data[position] in b",!":
            if data[position] == GIF_IMAGE:
                image_count += 1
                position += 9 + _gif_palette_length(data[position + 9])
            position += 2
            while block_count < MAX_PARTS and data[position]:
                block_count += 1
                position += 1 + data[position]
            block_count += 1
            position += 1
    except IndexError:
        pass  # truncated: count the images before the end
    return image_count > 1


def _gif_palette_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
