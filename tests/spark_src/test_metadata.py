"""Stripping removes all metadata from JPEG and PNG files, and changes no pixel."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from spark_src.images.containers import MalformedContainer, TruncatedContainer
from spark_src.images.jpeg import JPEG_END, read_jpeg_header, strip_jpeg
from spark_src.images.png import PNG_SIGNATURE, read_png_header, strip_png

SECRET = b"GPS-48.8566N-2.3522E"
SAMPLE = Path(__file__).parents[2] / "sample" / "fruits-360"
METADATA_SEGMENTS = {
    "EXIF": (0xE1, b"Exif\x00\x00II*\x00" + SECRET),
    "XMP": (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + SECRET),
    "extended XMP": (0xE1, b"http://ns.adobe.com/xmp/extension/\x00" + SECRET),
    "JFIF extension": (0xE0, b"JFXX\x00\x10" + SECRET),
    "short JFIF": (0xE0, b"JFIF\x00"),
    "multi-picture index": (0xE2, b"MPF\x00" + SECRET),
    "FlashPix": (0xE2, b"FPXR\x00" + SECRET),
    "IPTC": (0xED, b"Photoshop 3.0\x00" + SECRET),
    "other APP14": (0xEE, b"Ducky" + SECRET),
    "APP15": (0xEF, SECRET),
    "comment": (0xFE, SECRET),
}
METADATA_CHUNKS = [b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"pHYs", b"prVt", b"acTL"]


def picture(mode: str = "RGB") -> Image.Image:
    gradient = Image.radial_gradient("L").resize((48, 40))
    if mode == "I;16":
        return gradient.convert("I").point(lambda value: value * 257).convert("I;16")
    colour = Image.merge("RGB", [gradient, gradient.rotate(90), gradient.rotate(180)])
    return colour.convert(mode)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def insert(data: bytes, extra: bytes, before: bytes) -> bytes:
    position = data.index(before)
    return data[:position] + extra + data[position:]


def chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = struct.pack(">L", zlib.crc32(kind + payload))
    return struct.pack(">L", len(payload)) + kind + payload + checksum


def insert_chunk(data: bytes, extra: bytes, before: bytes = b"IDAT") -> bytes:
    position = data.index(before) - 4
    return data[:position] + extra + data[position:]


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes, object]:
    with Image.open(io.BytesIO(data)) as image:
        raw = image.tobytes()
        palette = image.getpalette() if image.mode == "P" else None
        return image.mode, image.size, raw, (palette, image.info.get("transparency"))


@pytest.mark.parametrize("name", METADATA_SEGMENTS)
def test_every_kind_of_jpeg_metadata_segment_is_removed(name: str) -> None:
    plain = strip_jpeg(encode(picture(), "JPEG"))
    extra = segment(*METADATA_SEGMENTS[name])
    assert strip_jpeg(insert(plain, extra, before=b"\xff\xdb")) == plain


def test_metadata_between_the_scans_of_a_progressive_jpeg_is_removed() -> None:
    plain = strip_jpeg(encode(picture(), "JPEG", progressive=True))
    last_scan = plain.rindex(b"\xff\xda")
    extra = segment(0xFE, SECRET) + segment(0xE1, b"Exif\x00\x00" + SECRET)
    assert strip_jpeg(plain[:last_scan] + extra + plain[last_scan:]) == plain


def test_a_jfif_segment_is_replaced_by_a_minimal_one() -> None:
    plain = encode(picture(), "JPEG")
    for fields in (b"\x01\x02\x01\x00\x48\x00\x48\x02\x02" + SECRET[:12], SECRET):
        data = b"\xff\xd8" + segment(0xE0, b"JFIF\x00" + fields)
        assert strip_jpeg(data + plain[plain.index(b"\xff\xdb") :]) == plain


def test_bytes_added_to_the_adobe_segment_are_removed() -> None:
    adobe = b"Adobe\x00\x64\x00\x00\x00\x00\x01"
    plain = insert(encode(picture(), "JPEG"), segment(0xEE, adobe), before=b"\xff\xdb")
    padded = insert(encode(picture(), "JPEG"), segment(0xEE, adobe + SECRET), before=b"\xff\xdb")
    assert strip_jpeg(padded) == plain


def test_a_jpegs_colour_profile_is_removed() -> None:
    assert strip_jpeg(encode(picture(), "JPEG", icc_profile=SECRET)) == encode(picture(), "JPEG")


def test_everything_after_the_end_of_the_primary_picture_is_cut() -> None:
    plain = strip_jpeg(encode(picture(), "JPEG"))
    assert strip_jpeg(plain + SECRET + encode(picture(), "JPEG", comment=SECRET)) == plain


def test_fill_bytes_and_junk_between_segments_are_skipped() -> None:
    plain = strip_jpeg(encode(picture(), "JPEG"))
    untidy = insert(plain, b"junk\xff\x00\xff\xd3\xff\xff\xff", before=b"\xff\xdb")
    assert strip_jpeg(untidy) == plain


def test_a_missing_end_marker_is_not_invented() -> None:
    plain = strip_jpeg(encode(picture(), "JPEG"))
    assert strip_jpeg(plain.removesuffix(JPEG_END)) == plain.removesuffix(JPEG_END)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 95}),
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("RGB", {"keep_rgb": True}),
        ("L", {}),
        ("CMYK", {}),
        ("CMYK", {"progressive": True}),
    ],
)
def test_stripping_a_jpeg_changes_no_pixel(mode: str, options: dict[str, object]) -> None:
    data = encode(picture(mode), "JPEG", comment=SECRET, **options)
    stripped = strip_jpeg(data)
    assert SECRET in data and SECRET not in stripped
    assert pixels(stripped) == pixels(data)


def test_stripping_the_sample_fruits_changes_no_pixel() -> None:
    paths = sorted(SAMPLE.glob("*/*/*.jpg"))[::10]
    assert paths
    for path in paths:
        data = path.read_bytes()
        assert pixels(strip_jpeg(data)) == pixels(data), path.name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin"),
        (b"GIF89a", "does not begin"),
        (b"\xff\xd8\xff\xe0\x00\x01", "length 1"),
        (b"\xff\xd8\xff\xc8\x00\x02", "unexpected marker FF C8"),
        (b"\xff\xd8\xff\xd8\xff\xd9", "unexpected marker FF D8"),
        (b"\xff\xd8\xff\xd9", "no picture data"),
        (b"\xff\xd8" + segment(0xDA, b"") * 501, "more than 500 scans"),
    ],
)
def test_a_malformed_jpeg_is_reported_with_the_cause(data: bytes, message: str) -> None:
    with pytest.raises(MalformedContainer, match=message):
        strip_jpeg(data)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10", b"\xff\xd8\xff\xe0"]
)
def test_a_jpeg_cut_in_its_header_is_truncated(data: bytes) -> None:
    with pytest.raises(TruncatedContainer):
        strip_jpeg(data)
    with pytest.raises(TruncatedContainer):
        read_jpeg_header(data)


@pytest.mark.parametrize("kind", METADATA_CHUNKS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_every_kind_of_png_metadata_chunk_is_removed(kind: bytes, before: bytes) -> None:
    plain = encode(picture(), "PNG")
    assert strip_png(insert_chunk(plain, chunk(kind, SECRET), before)) == plain


def test_everything_after_the_end_of_a_png_is_cut() -> None:
    plain = encode(picture(), "PNG")
    assert strip_png(plain + SECRET) == plain


INTERLACED_GRAY = (
    PNG_SIGNATURE
    + chunk(b"IHDR", struct.pack(">LLBBBBB", 2, 2, 8, 0, 0, 0, 1))
    + chunk(b"IDAT", zlib.compress(b"\x00\x0a\x00\x14\x00\x1e\x28"))
    + chunk(b"IEND", b"")
)


@pytest.mark.parametrize(
    "plain",
    [
        encode(picture("RGBA"), "PNG"),
        encode(picture("LA"), "PNG"),
        encode(picture("P"), "PNG", transparency=3),
        encode(picture("P"), "PNG", transparency=bytes(range(256))),
        encode(picture("1"), "PNG"),
        encode(picture("I;16"), "PNG"),
        INTERLACED_GRAY,
    ],
    ids=["RGBA", "LA", "palette one alpha", "palette alphas", "bits", "16 bits", "interlaced"],
)
def test_stripping_a_png_changes_no_pixel(plain: bytes) -> None:
    data = insert_chunk(plain, chunk(b"tEXt", b"Comment\x00" + SECRET))
    stripped = strip_png(data)
    assert SECRET not in stripped
    assert pixels(stripped) == pixels(data)


@pytest.mark.parametrize("kind", [b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"PLTE"])
def test_chunks_that_only_describe_a_pngs_colours_are_removed(kind: bytes) -> None:
    plain = encode(picture(), "PNG")
    assert strip_png(insert_chunk(plain, chunk(kind, SECRET))) == plain


def test_a_png_without_its_end_is_truncated() -> None:
    plain = encode(picture(), "PNG")
    for kept in (20, 60, len(plain) - 12, len(plain) - 1):
        with pytest.raises(TruncatedContainer):
            strip_png(plain[:kept])


def test_a_png_with_a_changed_pixel_byte_is_malformed() -> None:
    data = bytearray(encode(picture(), "PNG"))
    data[-20] ^= 1
    with pytest.raises(MalformedContainer, match="checksum of the PNG's IDAT"):
        strip_png(bytes(data))


def test_a_png_with_other_bytes_between_its_chunks_is_malformed() -> None:
    data = insert_chunk(encode(picture(), "PNG"), b"\x00\x00\x00\x00\x01\x02\x03\x04")
    with pytest.raises(MalformedContainer, match="where a chunk should begin"):
        strip_png(data)


def exif(order: str, field_type: int, value: bytes) -> bytes:
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "L", 8)
    other_tag = struct.pack(order + "HHL4s", 0x010F, 2, 4, b"abc\x00")
    tag = struct.pack(order + "HHL4s", 0x0112, field_type, 1, value)
    return head + struct.pack(order + "H", 2) + other_tag + tag + bytes(4)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (exif("<", 3, b"\x06\x00"), 6),
        (exif(">", 3, b"\x00\x08"), 8),
        (exif("<", 4, b"\x03\x00\x00\x00"), 3),
        (exif("<", 3, b"\x00\x00"), 1),
        (exif("<", 3, b"\x09\x00"), 1),
        (exif("<", 2, b"6\x00"), 1),
        (exif("<", 3, b"\x06\x00")[:30], 1),
        (b"II*\x00\xff\xff\xff\xff", 1),
        (b"not TIFF", 1),
        (b"", 1),
    ],
)
def test_orientation_is_read_from_exif_and_is_one_when_invalid(block: bytes, expected: int) -> None:
    app1 = segment(0xE1, b"Exif\x00\x00" + block)
    jpeg = insert(encode(picture(), "JPEG"), app1, before=b"\xff\xdb")
    png = insert_chunk(encode(picture(), "PNG"), chunk(b"eXIf", block), before=b"IEND")
    assert read_jpeg_header(jpeg).orientation == expected
    assert read_png_header(png).orientation == expected


@pytest.mark.parametrize(
    "text", [b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>"]
)
def test_orientation_is_read_from_xmp_only_where_exif_has_none(text: bytes) -> None:
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + text)
    data = insert(encode(picture(), "JPEG"), xmp, before=b"\xff\xdb")
    both = insert(
        data, segment(0xE1, b"Exif\x00\x00" + exif("<", 3, b"\x03\x00")), before=b"\xff\xdb"
    )
    assert read_jpeg_header(data).orientation == 6
    assert read_jpeg_header(both).orientation == 3
