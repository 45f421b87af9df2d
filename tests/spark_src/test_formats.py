"""HEIC, WebP, AVIF, TIFF and BMP are stored losslessly without metadata, with the same limits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spark_src.images.rejection import Limits, PictureRejected, Reason
from spark_src.images.validate import clean_picture
from tests.fuzz.containers import encoded, gradient
from tests.fuzz.foreign import PICTURES

SECRET = b"SECRETGPS48.8584N2.2945E"
ORIENTATION, MAKER = 0x0112, 0x010F
COLOURS = Image.merge("RGB", [gradient("L"), gradient("L").rotate(90), gradient("L").rotate(180)])
HEIC = (PICTURES / "phone.heic").read_bytes()
LOSSLESS: dict[str, dict[str, Any]] = {
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}


def rejection(data: bytes, limits: Limits | None = None) -> PictureRejected:
    with pytest.raises(PictureRejected) as caught:
        clean_picture(data, limits or Limits())
    return caught.value


def pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def tagged() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, SECRET.decode()
    return exif.tobytes()


@pytest.mark.parametrize("file_format", LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_the_pixels_are_stored_losslessly(file_format: str, mode: str) -> None:
    data = encoded(COLOURS.convert(mode), file_format, **LOSSLESS[file_format])
    kept = clean_picture(data)
    assert kept.content.startswith(b"\x89PNG")
    assert (kept.width, kept.height, kept.orientation) == (*COLOURS.size, 1)
    assert np.array_equal(pixels(kept.content), pixels(data))


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
def test_the_orientation_is_reported_and_the_metadata_dropped(file_format: str) -> None:
    data = encoded(COLOURS, file_format, exif=tagged(), xmp=SECRET, icc_profile=SECRET)
    kept = clean_picture(data)
    assert SECRET in data
    assert SECRET not in kept.content
    assert kept.orientation == 6
    assert np.abs(pixels(kept.content).astype(int) - np.asarray(COLOURS)).mean() < 12


@pytest.mark.parametrize("file_format", ["BMP", "TIFF"])
def test_colours_that_no_pixel_has_are_not_stored(file_format: str) -> None:
    picture = gradient("L").point(lambda value: value // 16).convert("P")
    colours = np.arange(48, dtype=np.uint8).tobytes()
    picture.putpalette(colours + SECRET * 30)
    data = encoded(picture, file_format)
    kept = clean_picture(data)
    assert np.array_equal(pixels(kept.content), pixels(data))
    assert SECRET not in kept.content


def test_a_tiff_is_rotated_according_to_its_tag() -> None:
    data = encoded(COLOURS, "TIFF", tiffinfo={ORIENTATION: 6, MAKER: SECRET.decode()})
    kept = clean_picture(data)
    assert SECRET in data and SECRET not in kept.content
    assert (kept.width, kept.height, kept.orientation) == (47, 61, 1)
    assert np.array_equal(pixels(kept.content), np.rot90(np.asarray(COLOURS), -1))


def test_a_heic_photo_is_read_upright_and_without_metadata(sample: Path) -> None:
    original = np.asarray(Image.open(sample / "Test" / "Cherry 2" / "103_100.jpg"))
    kept = clean_picture(HEIC)
    assert SECRET in HEIC and SECRET not in kept.content
    assert (kept.width, kept.height, kept.orientation) == (100, 100, 1)
    assert np.abs(pixels(kept.content).astype(int) - np.rot90(original, -1)).mean() < 4


def test_the_reason_for_a_cut_heic_photo_is_one_line() -> None:
    detail = rejection(HEIC[:1200]).detail
    assert detail.startswith("Decoding fails: ") and detail.endswith(").")
    assert "\n" not in detail


def test_a_real_iphones_photo_is_reduced_upright(shared: Path) -> None:
    photo = shared / "data" / "odd-images" / "iphone_13_pro_max.HEIC"
    kept = clean_picture(photo.read_bytes())
    assert (kept.width, kept.height, kept.orientation) == (756, 1008, 1)
    assert kept.content.startswith(b"\xff\xd8\xff")
    assert b"Exif" not in kept.content and b"Apple" not in kept.content


@pytest.mark.parametrize("file_format", [*LOSSLESS, "AVIF"])
def test_the_limits_apply_to_all_formats(file_format: str) -> None:
    data = encoded(COLOURS, file_format)
    few_pixels = 61 * 47 - 1
    assert rejection(data, Limits(max_bytes=len(data) - 1)).reason is Reason.TOO_MANY_BYTES
    rejected = rejection(data, Limits(max_pixels=few_pixels))
    assert rejected.reason is Reason.TOO_MANY_PIXELS
    assert "61 x 47" in rejected.detail
    assert rejection(HEIC, Limits(max_pixels=9_999)).reason is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
def test_an_animated_foreign_format_is_rejected(file_format: str) -> None:
    frames = [COLOURS.rotate(45)]
    rejected = rejection(encoded(COLOURS, file_format, save_all=True, append_images=frames))
    assert rejected.reason is Reason.ANIMATED
    assert "save one frame of it as JPEG or PNG" in rejected.detail


def test_several_pages_are_rejected_as_such() -> None:
    tiff = encoded(COLOURS, "TIFF", save_all=True, append_images=[COLOURS.rotate(45)])
    for data in (tiff, (PICTURES / "two_pictures.heic").read_bytes()):
        rejected = rejection(data)
        assert rejected.reason is Reason.SEVERAL_PAGES
        assert "contains several pictures; save each as a separate file" in rejected.detail


def test_a_tiff_with_a_smaller_copy_of_itself_is_one_picture() -> None:
    small = COLOURS.resize((20, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    data = encoded(COLOURS, "TIFF", save_all=True, append_images=[small])
    assert np.array_equal(pixels(clean_picture(data).content), np.asarray(COLOURS))


@pytest.mark.parametrize("tag", [{254: 1}, {50706: b"\x01\x04\x00\x00"}])
def test_a_raw_file_of_a_camera_is_rejected_and_its_preview_not_taken_for_the_photo(
    tag: dict[int, int | bytes],
) -> None:
    found = rejection(encoded(COLOURS, "TIFF", tiffinfo=tag))
    assert found.reason is Reason.UNSUPPORTED_FORMAT
    assert "raw file" in found.detail


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_tiff_of_integers_or_floats_is_rejected(mode: str) -> None:
    assert rejection(encoded(gradient("L").convert(mode), "TIFF")).reason is (
        Reason.UNSUPPORTED_FORMAT
    )


@pytest.mark.parametrize("file_format", [*LOSSLESS, "AVIF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_foreign_format_is_rejected(file_format: str, share: float) -> None:
    data = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), file_format)
    rejected = rejection(data[: int(len(data) * share)])
    assert rejected.reason in (Reason.TRUNCATED, Reason.BROKEN)
    assert rejection(HEIC[: int(len(HEIC) * share)]).reason in (Reason.TRUNCATED, Reason.BROKEN)
