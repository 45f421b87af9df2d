"""Decodes stored pictures to the model's input. Changes here or in `reduce` need a new PIXELS."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INPUT_SIZE = 224
"""Side of the model's square input, in pixels."""

PIXELS = "pillow-rgb-upright-bicubic-224-reduced-v2"
"""Version of the preprocessing, including `reduce`, stored with the features. Version 1 did not
reduce pictures; the features of pictures that are not reduced are the same."""

Image.MAX_IMAGE_PIXELS = None  # ingest has already checked the size of every picture

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag 0x0112: the operation that turns a stored picture upright."""


def model_input(
    content: bytes, orientation: int = 1, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Decode a picture for MobileNetV2.

    RGB, turned upright, resized to 224 x 224 (bicubic), x / 127.5 - 1.

    Args:
        content: a JPEG or PNG file's bytes.
        orientation: EXIF orientation, 1 to 8.
        out: the array to fill, shape (224, 224, 3). Allocating a new one for each picture takes a
            tenth of the total time, because the system clears its pages.

    Returns:
        float32, shape (224, 224, 3), values in [-1, 1].
    """
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
        rgb = upright(picture, orientation)
    small = rgb.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC)
    values: NDArray[np.float32] = np.divide(np.asarray(small), np.float32(127.5), out=out)
    values -= np.float32(1)
    return values


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """A picture in RGB, rotated according to its EXIF orientation, 1 to 8."""
    rgb = to_rgb(picture)
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture in RGB, without transparency. 16-bit grey is reduced to its upper 8 bits."""
    if picture.mode == "RGB":
        picture.load()  # the caller may close its file
        return picture  # `convert` would make a copy, up to 200 MB
    if not picture.mode.startswith("I"):
        return picture.convert("RGB")
    # Pillow clips 16-bit grey to white instead of scaling it.
    grey = (np.asarray(picture) >> 8).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
