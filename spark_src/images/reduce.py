"""Converts a large or foreign picture to the stored JPEG or PNG, without metadata.

The result affects the features, so any change here requires a new `preprocess.PIXELS`.
"""

from __future__ import annotations

import io

from PIL import Image

from spark_src.images.preprocess import INPUT_SIZE, to_rgb
from spark_src.images.rejection import Limits

DECODED_SIDE = 2 * INPUT_SIZE
"""A picture is decoded, or averaged, at the smallest scale at which both sides have this many
pixels: twice the model's input. A larger `max_side` than the default increases it in proportion."""

QUALITY = 90
"""JPEG quality of stored pictures. For measurements, see docs/phone.md."""

_PNG_MODES = frozenset({"1", "L", "LA", "P", "I;16", "RGB", "RGBA"})
_BAND_PIXELS = 2**20


def encode_reduced(image: Image.Image, max_side: int) -> bytes:
    """Reduce a picture to at most `max_side` and encode it as JPEG.

    Args:
        image: an opened picture. A JPEG must not be loaded yet, as its decoder does most of the
            reduction.
        max_side: maximum length of the longer side, in pixels.
    """
    side = _decoded_side(max_side)
    image.draft(None, (side, side))
    image.load()
    target = _target(image.size, max_side)
    small = _averaged(image, target)
    if small.size != target:
        small = small.resize(target, Image.Resampling.BICUBIC)
    return _encoded(small, "JPEG", quality=QUALITY, subsampling=0)


def encode_lossless(image: Image.Image) -> bytes:
    """Encode exactly these pixels as PNG, converting modes that PNG does not support to RGB."""
    return _encoded(image if image.mode in _PNG_MODES else to_rgb(image), "PNG")


def _decoded_side(max_side: int) -> int:
    """Minimum pixels per side when decoding, scaled up if `max_side` exceeds its default."""
    return max(DECODED_SIDE, DECODED_SIDE * max_side // Limits.max_side)


def _target(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """The stored size: halved while both sides stay long enough, then scaled to the limit."""
    step = _power_of_two(min(size) / _decoded_side(max_side))
    width, height = (-(-side // step) for side in size)
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _averaged(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Average blocks of 2, 4, … pixels per axis. The result is RGB, or grey if the image was.

    If the target is a half, a quarter, …, this is the whole reduction. Otherwise it leaves twice
    the target's pixels for resizing, with the same quality in a tenth of the time.
    """
    steps = _step(image.width, target[0]), _step(image.height, target[1])
    if image.mode in ("L", "RGB"):
        return image.reduce(steps) if max(steps) > 1 else image
    if max(steps) == 1:
        return to_rgb(image)
    # In bands, because a copy of a 50-megapixel picture in RGB takes another 200 MB.
    size = tuple(-(-side // step) for side, step in zip(image.size, steps, strict=True))
    small = Image.new("RGB", (size[0], size[1]))
    rows = steps[1] * max(1, _BAND_PIXELS // (image.width * steps[1]))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(to_rgb(band).reduce(steps), (0, top // steps[1]))
    return small


def _step(side: int, target: int) -> int:
    """Block size to average: the full ratio if that gives the target, otherwise half of it."""
    whole = _power_of_two(side / target)
    return whole if -(-side // whole) == target else max(1, whole // 2)


def _power_of_two(ratio: float) -> int:
    """The largest power of two not greater than the ratio, at least 1."""
    return 1 << max(0, int(ratio).bit_length() - 1)


def _encoded(image: Image.Image, file_format: str, **options: int) -> bytes:
    # Pillow copies colour profiles and comments from `info` into the file.
    image.info = {name: image.info[name] for name in ("transparency",) if name in image.info}
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()
