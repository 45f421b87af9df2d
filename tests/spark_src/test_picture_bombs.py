"""Small files that would take excessive time or memory to decode are rejected first."""

from __future__ import annotations

import struct
import time

import pytest
from PIL import Image

from spark_src.images.containers import MAX_PARTS
from spark_src.images.rejection import Limits, PictureRejected, Reason
from spark_src.images.validate import clean_picture
from tests.fuzz.containers import (
    END_OF_JPEG,
    END_OF_PNG,
    after_start,
    chunk,
    chunks,
    encoded,
    gradient,
    header,
    png_of,
    positions,
    segment,
    zeros,
)

pytestmark = pytest.mark.fuzz

PICTURE = encoded(gradient(), "PNG")
PHOTO = encoded(gradient(), "JPEG")


def rejection(data: bytes, limits: Limits | None = None) -> PictureRejected:
    with pytest.raises(PictureRejected) as caught:
        clean_picture(data, limits or Limits())
    return caught.value


def with_chunks(extra: bytes) -> bytes:
    place = PICTURE.index(b"IDAT") - 4
    return PICTURE[:place] + extra + PICTURE[place:]


def progressive(size: tuple[int, int], last_scans: int, mode: str = "RGB") -> bytes:
    data = encoded(Image.new(mode, size), "JPEG", progressive=True, subsampling=0)
    last = data[positions(data, 0xDA)[-1] : -2]
    return data[:-2] + last * last_scans + END_OF_JPEG


@pytest.mark.parametrize("size", [(50_000_000, 1), (1, 50_000_000)])
def test_a_png_with_a_side_longer_than_any_jpeg_has_is_rejected(size: tuple[int, int]) -> None:
    data = header(*size, depth=16, colour=6) + chunk(b"IDAT", zeros(1000)) + END_OF_PNG
    rejected = rejection(data)
    assert rejected.reason is Reason.TOO_MANY_PIXELS
    assert "65535" in rejected.detail


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"eXIf"])
def test_a_png_with_very_many_empty_chunks_is_rejected(kind: bytes) -> None:
    assert clean_picture(with_chunks(chunk(b"tEXt", b"") * (MAX_PARTS - 10)))
    rejected = rejection(with_chunks(chunk(kind, b"") * MAX_PARTS))
    assert (rejected.reason, "more than 65536 chunks" in rejected.detail) == (Reason.BROKEN, True)


@pytest.mark.parametrize("part", [b"\xff\xfe\0\2", b"\xff\xd0", b"\xff\1", b"\xff\xdd\0\4\0\0"])
def test_a_jpeg_with_very_many_segments_is_rejected(part: bytes) -> None:
    rejected = rejection(after_start(PHOTO, part * (MAX_PARTS + 1)))
    assert (rejected.reason, "more than 65536 segments" in rejected.detail) == (Reason.BROKEN, True)


def test_many_colour_profiles_in_a_png_are_all_removed() -> None:
    profiles = [chunk(b"iCCP", bytes([65 + n]) + b"\0\0" + zeros(1_000_000)) for n in range(9)]
    assert clean_picture(with_chunks(b"".join(profiles))) == clean_picture(PICTURE)


def test_a_png_with_two_palettes_is_rejected() -> None:
    parts = chunks(encoded(gradient("P"), "PNG"))
    place = next(number for number, (kind, _) in enumerate(parts) if kind == b"PLTE")
    assert clean_picture(png_of(parts))
    parts.insert(place, parts[place])
    assert rejection(png_of(parts)).reason is Reason.BROKEN


@pytest.mark.parametrize("place", ["nowhere", "behind the pixels"])
def test_a_png_of_palette_colours_without_a_palette_is_rejected(place: str) -> None:
    kept = chunks(encoded(gradient("P"), "PNG", transparency=3))
    palette = [part for part in kept if part[0] == b"PLTE"]
    assert clean_picture(png_of(kept))
    kept.remove(palette[0])
    if place != "nowhere":
        kept[-1:-1] = palette
    assert rejection(png_of(kept)).reason is Reason.BROKEN


def test_a_progressive_jpeg_of_too_many_pixels_times_scans_is_rejected() -> None:
    size = (4000, 3000)
    assert clean_picture(progressive(size, 5))
    started = time.monotonic()
    rejected = rejection(progressive(size, 90))
    assert time.monotonic() - started < 1
    assert rejected.reason is Reason.TOO_MANY_PIXELS
    assert "12000000 pixels in 100 scans" in rejected.detail


def test_a_jpeg_whose_scans_take_more_memory_than_the_most_pixels_is_rejected() -> None:
    limits = Limits(max_pixels=10_000)
    assert clean_picture(encoded(gradient(size=(99, 99)), "JPEG"), limits)
    assert clean_picture(progressive((50, 50), 0, "CMYK"), limits)
    assert clean_picture(progressive((99, 99), 0, "L"), limits)
    assert rejection(progressive((99, 99), 0), limits).reason is Reason.TOO_MANY_PIXELS
    assert rejection(progressive((99, 99), 0, "CMYK"), limits).reason is Reason.TOO_MANY_PIXELS


def test_a_progressive_jpeg_with_fewer_colours_than_pixels_takes_less_memory() -> None:
    subsampled = encoded(Image.new("RGB", (96, 96)), "JPEG", progressive=True, subsampling=2)
    assert clean_picture(subsampled, Limits(max_pixels=96 * 96))


def test_damage_after_the_first_eighth_of_a_jpeg_is_found() -> None:
    photo = encoded(Image.effect_noise((800, 800), 90), "JPEG")
    table = positions(photo, 0xDA)[0]
    other_scan = segment(0xDA, b"\1\7\0\0\x3f\0")  # a component that is not in the frame
    place = table + 4 * (len(photo) - table) // 5
    assert rejection(photo[:place] + other_scan + photo[place:]).reason is Reason.BROKEN


@pytest.mark.parametrize("block", [b"\1a", b"\0!\xfe"])
def test_a_gif_with_very_many_blocks_is_rejected_quickly(block: bytes) -> None:
    data = b"GIF89a" + bytes(7) + b"!\xfe\1a" + block * 10_000_000
    started = time.monotonic()
    assert rejection(data).reason is Reason.UNSUPPORTED_FORMAT
    assert time.monotonic() - started < 0.5


def test_two_frame_headers_with_different_dimensions_are_rejected() -> None:
    frame = PHOTO.index(b"\xff\xc0")
    second = bytearray(PHOTO[frame : frame + 19])
    struct.pack_into(">HH", second, 5, 60_000, 800)
    data = PHOTO[: frame + 19] + bytes(second) + PHOTO[frame + 19 :]
    assert rejection(data).reason in (Reason.BROKEN, Reason.TOO_MANY_PIXELS)
