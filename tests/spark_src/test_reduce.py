"""Pictures above the side limit are reduced. All others keep their bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from spark_src.images.plan import fingerprint_of
from spark_src.images.preprocess import model_input
from spark_src.images.rejection import Limits
from spark_src.images.validate import Picture, clean_picture
from tests.fuzz.containers import encoded, gradient

COLOURS = Image.merge("RGB", [gradient("L"), gradient("L").rotate(90), gradient("L").rotate(180)])

MODES = [
    *((mode, "JPEG") for mode in ("RGB", "L", "CMYK")),
    *((mode, "PNG") for mode in ("RGB", "L", "P", "RGBA", "LA", "1")),
    ("RGBA", "WEBP"),
    ("CMYK", "TIFF"),
]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return COLOURS.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def open_image(kept: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(kept.content))
    assert image.size == (kept.width, kept.height)
    return image


@pytest.mark.parametrize("size", [(1024, 1024), (1024, 3), (700, 1024)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_picture_within_the_limit_keeps_its_bytes(
    size: tuple[int, int], file_format: str
) -> None:
    data = encoded(picture(*size), file_format)
    assert clean_picture(data).content == data


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize(
    ("size", "kept_size"),
    [
        ((1025, 1025), (513, 513)),
        ((2016, 1512), (1008, 756)),
        ((1600, 1200), (800, 600)),
        ((2304, 1000), (1024, 444)),
        ((1500, 800), (1024, 546)),
        ((9000, 20), (1024, 2)),
        ((20, 9000), (2, 1024)),
        ((5000, 1), (1024, 1)),
    ],
)
def test_a_larger_one_is_halved_and_then_resized_to_the_limit(
    file_format: str, size: tuple[int, int], kept_size: tuple[int, int]
) -> None:
    kept = clean_picture(encoded(picture(*size), file_format))
    image = open_image(kept)
    assert (image.format, image.size) == ("JPEG", kept_size)
    assert "icc_profile" not in image.info and "exif" not in image.info


@pytest.mark.parametrize(
    ("mode", "file_format"),
    MODES,
)
def test_the_model_input_is_close_to_that_at_full_resolution(mode: str, file_format: str) -> None:
    data = encoded(picture(1600, 1300, mode), file_format)
    kept = clean_picture(data)
    with Image.open(io.BytesIO(data)) as image:
        full_size = model_input(encoded(image.convert("RGB"), "PNG"))
    assert np.abs(model_input(kept.content) - full_size).mean() < 0.02


def test_transparency_is_dropped_and_not_blended() -> None:
    colours = picture(1600, 1300)
    clear = colours.copy()
    clear.putalpha(0)
    kept = [clean_picture(encoded(image, "PNG")).content for image in (colours, clear)]
    assert kept[0] == kept[1]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.asarray(picture(1600, 1300, "L")).astype(np.uint16) * 257)
    kept = open_image(clean_picture(encoded(deep, "PNG")))
    plain = open_image(clean_picture(encoded(picture(1600, 1300, "L"), "PNG")))
    grey = [np.asarray(image.convert("L")).astype(int) for image in (kept, plain)]
    assert np.abs(grey[0] - grey[1]).mean() < 1.5


def test_the_orientation_is_kept_beside_the_reduced_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = clean_picture(encoded(picture(2016, 1512), "JPEG", exif=exif))
    assert (kept.width, kept.height, kept.orientation) == (1008, 756, 6)


def test_a_changed_side_limit_reads_every_file_again() -> None:
    data = encoded(picture(900, 800), "JPEG")
    assert clean_picture(data, Limits(max_side=900)).content == data
    assert max(open_image(clean_picture(data, Limits(max_side=600))).size) == 600
    large = encoded(picture(4032, 3024), "JPEG")
    assert open_image(clean_picture(large, Limits(max_side=2048))).size == (2016, 1512)
    assert fingerprint_of(Limits(max_side=600)) != fingerprint_of(Limits())


def test_a_reduced_picture_is_not_reduced_again() -> None:
    once = clean_picture(encoded(picture(2304, 1000), "PNG"))
    assert clean_picture(once.content) == once
