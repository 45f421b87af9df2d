"""Which files are accepted or rejected, and what is stored."""

import io
import pickle
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from spark_src.images.rejection import Limits, PictureRejected, Reason
from spark_src.images.validate import Picture, clean_picture

SECRET = b"GPS-48.8566N-2.3522E"
REPOSITORY = Path(__file__).parents[2]
ODD_IMAGES = REPOSITORY.parent / "shared" / "data" / "odd-images"
ODD_OUTCOMES = {
    "SOURCES.md": Reason.NOT_AN_IMAGE,
    "broken_data_stream.png": Reason.BROKEN,
    "truncated_image.png": Reason.TRUNCATED,
    "truncated_jpeg.jpg": Reason.TRUNCATED,
}
METADATA_PREFIXES = (b"Exif\x00\x00", b"http://ns.adobe.com/", b"Photoshop 3.0")
ORIENTATION = 0x0112
CAMERA_MAKER = 0x010F


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.radial_gradient("L").resize(size).convert(mode)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def animation(file_format: str) -> bytes:
    return encode(picture(), file_format, save_all=True, append_images=[picture().rotate(45)])


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    block[CAMERA_MAKER] = SECRET.decode()
    return block


def chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = struct.pack(">L", zlib.crc32(kind + payload))
    return struct.pack(">L", len(payload)) + kind + payload + checksum


def with_chunk(data: bytes, extra: bytes) -> bytes:
    position = data.index(b"IDAT") - 4
    return data[:position] + extra + data[position:]


def pixels(data: bytes, mode: str | None = None) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return (image.convert(mode) if mode else image).tobytes()


def rejection(data: bytes, limits: Limits | None = None) -> PictureRejected:
    with pytest.raises(PictureRejected) as caught:
        clean_picture(data, limits or Limits())
    return caught.value


def test_a_sample_fruit_is_accepted_unchanged_in_its_pixels() -> None:
    path = min((REPOSITORY / "sample" / "fruits-360").glob("*/*/*.jpg"))
    data = path.read_bytes()
    accepted = clean_picture(data)
    assert (accepted.width, accepted.height, accepted.orientation) == (100, 100, 1)
    assert pixels(accepted.content) == pixels(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_orientation_is_reported_and_the_exif_block_removed(file_format: str) -> None:
    data = encode(picture(), file_format, exif=exif(6))
    accepted = clean_picture(data)
    assert SECRET in data and SECRET not in accepted.content
    assert (accepted.width, accepted.height, accepted.orientation) == (48, 40, 6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_counts_as_upright(orientation: int) -> None:
    assert clean_picture(encode(picture(), "JPEG", exif=exif(orientation))).orientation == 1


def test_only_the_primary_picture_of_a_multi_picture_jpeg_is_kept() -> None:
    data = animation("MPO")
    accepted = clean_picture(data)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    with Image.open(io.BytesIO(accepted.content)) as kept:
        assert kept.format == "JPEG"
    assert accepted.content.count(b"\xff\xd8\xff") == 1
    assert pixels(accepted.content) == pixels(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_cleaning_a_cleaned_picture_changes_nothing(file_format: str, mode: str) -> None:
    once = clean_picture(encode(picture(mode), file_format, exif=exif(1)))
    assert clean_picture(once.content) == once


def test_an_empty_file_is_rejected_as_empty() -> None:
    assert rejection(b"").reason is Reason.EMPTY_FILE


def test_a_file_above_the_byte_limit_is_rejected_with_both_numbers() -> None:
    data = encode(picture(), "JPEG")
    rejected = rejection(data, Limits(max_bytes=len(data) - 1))
    assert rejected.reason is Reason.TOO_MANY_BYTES
    assert str(len(data)) in rejected.detail and str(len(data) - 1) in rejected.detail
    assert clean_picture(data, Limits(max_bytes=len(data)))


def test_a_picture_above_the_pixel_limit_is_rejected() -> None:
    data = encode(picture(size=(20, 10)), "PNG")
    assert rejection(data, Limits(max_pixels=199)).reason is Reason.TOO_MANY_PIXELS
    assert clean_picture(data, Limits(max_pixels=200))


def huge_png() -> bytes:
    data = encode(picture(), "PNG")
    header = struct.pack(">LLBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return data[:8] + chunk(b"IHDR", header) + data[33:]


def huge_jpeg() -> bytes:
    size = struct.pack(">HH", 40, 48)
    return encode(picture(), "JPEG").replace(size, struct.pack(">HH", 60_000, 60_000), 1)


@pytest.mark.parametrize("make", [huge_png, huge_jpeg])
def test_a_header_of_huge_dimensions_is_rejected_by_our_limit(make: Callable[[], bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rejected = rejection(make())
    assert rejected.reason is Reason.TOO_MANY_PIXELS
    assert "3600000000" in rejected.detail and "52000000" in rejected.detail


def test_the_pixel_limit_of_pillow_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clean_picture(encode(picture(), "JPEG")).width == 48
        assert clean_picture(encode(picture(), "PNG")).width == 48


def test_a_png_with_two_headers_cannot_evade_the_pixel_limit() -> None:
    second = chunk(b"IHDR", struct.pack(">LLBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    rejected = rejection(with_chunk(encode(picture(), "PNG"), second))
    assert rejected.reason is Reason.BROKEN


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP"])
def test_an_animation_is_rejected_as_animated(file_format: str) -> None:
    rejected = rejection(animation(file_format))
    assert rejected.reason is Reason.ANIMATED
    assert "save one frame" in rejected.detail


def test_a_png_animation_of_one_frame_is_a_still_picture() -> None:
    data = with_chunk(encode(picture(), "PNG"), chunk(b"acTL", struct.pack(">LL", 1, 0)))
    assert clean_picture(data).content == encode(picture(), "PNG")


def test_a_still_picture_of_an_unsupported_format_is_rejected_with_a_remedy() -> None:
    rejected = rejection(encode(picture(), "GIF"))
    assert rejected.reason is Reason.UNSUPPORTED_FORMAT
    assert rejected.detail == "GIF files are not supported; convert it to JPEG or PNG."


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text file with a .jpg name.\n",
        b"BMW and other cars, in a text file.\n",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(64),
        b"\xff\xd8",
        b"\x89PNG",
        bytes(100),
    ],
)
def test_other_bytes_are_rejected_as_not_an_image(data: bytes) -> None:
    assert rejection(data).reason is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.03, 0.5, 0.9])
def test_a_truncated_file_is_rejected_as_truncated(file_format: str, kept: float) -> None:
    data = encode(picture(), file_format)
    assert rejection(data[: int(len(data) * kept)]).reason is Reason.TRUNCATED


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_file_without_its_last_bytes_is_rejected_as_truncated(file_format: str) -> None:
    assert rejection(encode(picture(), file_format)[:-2]).reason is Reason.TRUNCATED


def test_a_jpeg_whose_second_half_is_zeros_is_rejected_as_truncated() -> None:
    data = encode(picture(), "JPEG")
    assert rejection(data[:-100] + bytes(5_000)).reason is Reason.TRUNCATED


def png_with_half_its_pixels() -> bytes:
    one_row = picture("L").tobytes()
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", len(one_row), 1, 8, 0, 0, 0, 0))
    half = chunk(b"IDAT", zlib.compress(b"\x00" + one_row)[:200])
    return b"\x89PNG\r\n\x1a\n" + header + half + chunk(b"IEND", b"")


def test_a_png_whose_compressed_pixels_end_early_is_rejected_as_truncated() -> None:
    assert rejection(png_with_half_its_pixels()).reason is Reason.TRUNCATED


def test_truncated_files_are_rejected_even_if_pillow_is_configured_to_load_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert pixels(png_with_half_its_pixels())
    assert rejection(png_with_half_its_pixels()).reason is Reason.TRUNCATED
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_jpeg_with_damaged_tables_is_rejected_as_broken() -> None:
    data = encode(picture(), "JPEG")
    table = data.index(b"\xff\xc4") + 4
    damaged = data[:table] + b"\x7f" * 20 + data[table + 20 :]
    assert rejection(damaged).reason is Reason.BROKEN


def test_a_png_with_a_changed_byte_is_rejected_as_broken() -> None:
    data = bytearray(encode(picture(), "PNG"))
    data[-20] ^= 1
    assert rejection(bytes(data)).reason is Reason.BROKEN


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [(b"zTXt", b"Comment"), (b"iCCP", b"profile")],
    ids=["text", "colour profile"],
)
def test_a_compressed_bomb_in_a_png_is_dropped_without_using_memory(
    kind: bytes, keyword: bytes
) -> None:
    bomb = chunk(kind, keyword + b"\x00\x00" + zlib.compress(bytes(64 * 2**20)))
    data = with_chunk(encode(picture(), "PNG"), bomb)
    tracemalloc.start()
    accepted = clean_picture(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert accepted.content == encode(picture(), "PNG")
    assert peak_bytes < 2**20


def test_a_rejection_survives_pickling() -> None:
    rejected = pickle.loads(pickle.dumps(rejection(b"")))
    assert (rejected.reason, rejected.detail) == (Reason.EMPTY_FILE, rejection(b"").detail)


def test_each_odd_image_has_its_known_outcome() -> None:
    if not ODD_IMAGES.is_dir():
        pytest.skip("the optional collection of odd images is not on this machine")
    for path in sorted(ODD_IMAGES.iterdir()):
        data = path.read_bytes()
        if path.name in ODD_OUTCOMES:
            assert rejection(data).reason is ODD_OUTCOMES[path.name], path.name
            continue
        accepted = clean_picture(data)
        assert isinstance(accepted, Picture)
        if max(accepted.width, accepted.height) < Limits.max_side // 2 or path.suffix == ".png":
            assert pixels(accepted.content, "RGB") == pixels(data, "RGB"), path.name
        assert accepted.orientation == (6 if "orientation" in path.name else 1), path.name
        for trace in METADATA_PREFIXES:
            assert trace not in accepted.content, path.name
