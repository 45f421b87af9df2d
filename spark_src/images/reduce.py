"""Makes of a large or foreign picture the JPEG or PNG file that is kept of it, without metadata.

Part of what the model sees: change it and `preprocess.PIXELS` changes too.
"""

from __future__ import annotations

import io

from PIL import Image

from spark_src.images.preprocess import INPUT_SIZE, to_rgb
from spark_src.images.rejection import Limits

DECODED_SIDE = 2 * INPUT_SIZE
"""A picture is decoded, or averaged, at the smallest scale at which both sides have so many pixels:
twice what the model sees. More where `max_side` is larger than by default."""

QUALITY = 90
"""Of the JPEG that is kept. Measured: see docs/phone.md."""

_PNG_MODES = frozenset({"1", "L", "LA", "P", "I;16", "RGB", "RGBA"})
_BAND_PIXELS = 2**20


def reduced(image: Image.Image, max_side: int) -> bytes:
    """A JPEG of a picture that is larger than is useful: no longer than `max_side`.

    Args:
        image: opened; a JPEG is not loaded yet, as its decoder does most of the reduction.
        max_side: in pixels, of the longer side.
    """
    side = _decoded_side(max_side)
    image.draft(None, (side, side))
    image.load()
    target = _target(image.size, max_side)
    small = _averaged(image, target)
    if small.size != target:
        small = small.resize(target, Image.Resampling.BICUBIC)
    return _encoded(small, "JPEG", quality=QUALITY, subsampling=0)


def lossless(image: Image.Image) -> bytes:
    """A PNG of exactly these pixels; of those that PNG has no form for, in RGB."""
    return _encoded(image if image.mode in _PNG_MODES else to_rgb(image), "PNG")


def _decoded_side(max_side: int) -> int:
    """How many pixels both sides have to keep: more where more than by default may be kept."""
    return max(DECODED_SIDE, DECODED_SIDE * max_side // Limits.max_side)


def _target(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """The size that is kept: halved while both sides stay long enough, then within the limit."""
    step = _power_of_two(min(size) / _decoded_side(max_side))
    width, height = (-(-side // step) for side in size)
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _averaged(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """In RGB, or grey where it was: 2, 4, … pixels averaged, each way, where so many are spare.

    That is the whole reduction where the target is a half, a quarter, …, and else leaves twice the
    target's pixels to the resizing: as good, and a tenth of the time.
    """
    steps = _step(image.width, target[0]), _step(image.height, target[1])
    if image.mode in ("L", "RGB"):
        return image.reduce(steps) if max(steps) > 1 else image
    if max(steps) == 1:
        return to_rgb(image)
    # Band by band: in RGB, a picture of 50 megapixels takes another 200 MB.
    size = tuple(-(-side // step) for side, step in zip(image.size, steps, strict=True))
    small = Image.new("RGB", (size[0], size[1]))
    rows = steps[1] * max(1, _BAND_PIXELS // (image.width * steps[1]))
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(to_rgb(band).reduce(steps), (0, top // steps[1]))
    return small


def _step(side: int, target: int) -> int:
    """How many pixels are averaged: all where that gives the target, else half as many."""
    whole = _power_of_two(side / target)
    return whole if -(-side // whole) == target else max(1, whole // 2)


def _power_of_two(ratio: float) -> int:
    """The greatest power of two that is no greater than the ratio, at least 1."""
    return 1 << max(0, int(ratio).bit_length() - 1)


def _encoded(image: Image.Image, file_format: str, **options: int) -> bytes:
    # Pillow takes profiles and comments along from there.
    image.info = {name: image.info[name] for name in ("transparency",) if name in image.info}
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()
