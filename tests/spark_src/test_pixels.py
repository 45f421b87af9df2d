"""The model input follows the written definition for any stored form of a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from spark_src.images.preprocess import INPUT_SIZE, model_input, upright
from spark_src.images.validate import clean_picture

ORIENTATION = 0x0112


def encode(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def asymmetric() -> NDArray[np.uint8]:
    """A 120 x 80 picture that differs from all of its rotations and reflections."""
    rows, columns = np.mgrid[0:80, 0:120]
    blue = np.where((rows < 30) & (columns < 20), 250, 20)
    return np.stack([rows * 3, columns * 2, blue], axis=-1).astype(np.uint8)


def as_stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The stored form of an upright picture for an EXIF 2.32 orientation."""
    turned = upright.transpose(1, 0, 2)
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: turned,
        6: turned[::-1],
        7: turned[::-1, ::-1],
        8: turned[:, ::-1],
    }[orientation]


def stored_file(orientation: int, file_format: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(as_stored(asymmetric(), orientation)))
    return encode(stored, file_format, exif=exif, **options)


def seen(file: bytes) -> NDArray[np.float32]:
    picture = clean_picture(file)
    return model_input(picture.content, picture.orientation)


def by_definition(picture: Image.Image) -> NDArray[np.float64]:
    """RGB, 224 x 224 bicubic, x / 127.5 - 1: an independent implementation."""
    small = picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return np.array(small).astype(np.float64) / 127.5 - 1


@pytest.mark.parametrize("label", ["Apple Golden 1", "Cherry 2", "Tomato 2"])
def test_a_real_picture_becomes_the_defined_input(sample: Path, label: str) -> None:
    file = min((sample / "Training" / label).iterdir())
    pixels = model_input(file.read_bytes())
    assert pixels.shape == (INPUT_SIZE, INPUT_SIZE, 3) == (224, 224, 3)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, by_definition(Image.open(file)), atol=1e-6)


def test_black_is_minus_one_and_white_is_one() -> None:
    assert np.unique(model_input(encode(Image.new("RGB", (5, 5), "black"), "PNG"))) == [-1]
    assert np.unique(model_input(encode(Image.new("RGB", (5, 5), "white"), "PNG"))) == [1]


def test_red_is_the_first_channel() -> None:
    pixels = model_input(encode(Image.new("RGB", (5, 5), (255, 0, 0)), "PNG"))
    assert pixels[0, 0].tolist() == [1, -1, -1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_of_any_orientation_reaches_the_model_upright(orientation: int) -> None:
    upright = by_definition(Image.fromarray(asymmetric()))
    np.testing.assert_allclose(seen(stored_file(orientation, "PNG")), upright, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_of_any_orientation_reaches_the_model_upright(orientation: int) -> None:
    upright = by_definition(Image.fromarray(asymmetric()))
    difference = np.abs(seen(stored_file(orientation, "JPEG", quality=95)) - upright)
    assert difference.mean() < 0.02


def test_ignoring_the_orientation_would_be_detected() -> None:
    upright = by_definition(Image.fromarray(asymmetric()))
    for orientation in range(2, 9):
        ignored = model_input(clean_picture(stored_file(orientation, "PNG")).content)
        assert np.abs(ignored - upright).mean() > 0.1


@pytest.mark.parametrize("name", ["exif_orientation6.jpg", "hopper_orientation_6.jpg"])
def test_a_real_photo_with_orientation_6_reaches_the_model_upright(shared: Path, name: str) -> None:
    file = shared / "data" / "odd-images" / name
    upright = ImageOps.exif_transpose(Image.open(file))
    np.testing.assert_allclose(seen(file.read_bytes()), by_definition(upright), atol=1e-6)


def test_16_bit_grey_is_scaled_and_not_clipped_to_white() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    deep = seen(encode(Image.fromarray(ramp.astype(np.uint16)), "PNG"))
    plain = seen(encode(Image.fromarray((ramp / 256).astype(np.uint8)), "PNG"))
    np.testing.assert_allclose(deep, plain, atol=1 / 127.5 + 1e-6)
    assert deep.min() < -0.95
    assert deep.max() > 0.95


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_every_colour_mode_is_converted_to_rgb(mode: str) -> None:
    picture = Image.fromarray(asymmetric()).convert(mode)
    file = encode(picture, "JPEG" if mode == "CMYK" else "PNG")
    pixels = seen(file)
    assert pixels.shape == (224, 224, 3)
    np.testing.assert_allclose(pixels, by_definition(Image.open(io.BytesIO(file))), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (224, 224)])
def test_a_picture_of_any_shape_is_resized_to_the_model_input(size: tuple[int, int]) -> None:
    assert model_input(encode(Image.new("RGB", size, "red"), "PNG")).shape == (224, 224, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_upright_picture_outlives_the_file_that_it_was_read_from(orientation: int) -> None:
    with Image.open(io.BytesIO(encode(Image.new("RGB", (40, 30)), "JPEG"))) as picture:
        turned = upright(picture, orientation)
    assert np.asarray(turned).shape == ((30, 40, 3) if orientation == 1 else (40, 30, 3))
