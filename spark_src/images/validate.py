"""Turns a file's bytes into a checked picture without metadata, or says why it is rejected.

Pixels are decoded as proof that they can be, then let go; resizing and models belong elsewhere.
"""

import contextlib
import enum
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from spark_src.images.containers import (
    JPEG_END,
    JPEG_SIGNATURE,
    MAX_PARTS,
    PNG_SIGNATURE,
    Header,
    MalformedContainer,
    TruncatedContainer,
    read_jpeg_header,
    read_png_header,
    strip_jpeg,
    strip_png,
)

# What Pillow raises on damaged or hostile bytes. Not MemoryError: a worker short of memory says
# nothing about the picture, so the task has to be tried again.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# How Pillow words "the bytes end too early"; it has no exception of its own for it.
TRUNCATION_MESSAGES = ("image file is truncated", "Truncated File Read")

OTHER_SIGNATURES = {
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
WEBP_ANIMATION_FLAG = 0x02
GIF_IMAGE = ord(",")

# As long as a JPEG's can be. A PNG's could be 2 ** 31, and the decoder keeps two rows besides.
MAX_SIDE = 65_535
BYTES_PER_PIXEL = 4  # in Pillow, of colours
# Pixels times the decoder's passes over them. Phones' and the web's progressive JPEGs have 10 scans
# or so; 300 of 50 million pixels fit into 300 kB and took 22 s.
MAX_PIXEL_SCANS = 1_000_000_000
# A JPEG's pixels come out at an eighth of the size: every coefficient is decoded all the same.
DRAFT = 8


class Reason(enum.StrEnum):
    """Reason codes of the rejected ledger."""

    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    ANIMATED = "animated"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    LINK = "link"
    NOT_A_FILE = "not_a_file"


TRANSIENT = frozenset({Reason.UNREADABLE, Reason.VANISHED})
"""Reasons that may be gone with the next listing though the file has not changed."""


@dataclass(frozen=True)
class Limits:
    """The largest file accepted, in bytes, and the largest picture, in pixels (width x height).

    By default what a 50-megapixel phone makes (8192 x 6144), so that no file takes a worker of
    ingest over 500 MB.
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 52_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A decodable JPEG or PNG without metadata.

    Width and height are pixels as stored, before the EXIF orientation (1 to 8) is applied.
    """

    content: bytes
    width: int
    height: int
    orientation: int


class PictureRejected(ValueError):
    """The file is not accepted; `detail` is a sentence for the person who supplied it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


DEFAULT_LIMITS = Limits()


def clean_picture(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Check a JPEG or PNG file, remove its metadata and prove that its pixels decode.

    Raises PictureRejected with the reason, whatever the bytes are.
    """
    _check_byte_count(data, limits)
    try:
        header = _read_header(data)
        _check_header(header, limits)
        content = strip_jpeg(data) if _is_jpeg(data) else strip_png(data)
    except TruncatedContainer as error:
        raise PictureRejected(Reason.TRUNCATED, _sentence(error)) from error
    except MalformedContainer as error:
        raise PictureRejected(Reason.BROKEN, _sentence(error)) from error
    _check_end(content)
    _check_pixels(content, header)
    return Picture(content, header.width, header.height, header.orientation)


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(JPEG_SIGNATURE)


def _check_byte_count(data: bytes, limits: Limits) -> None:
    if not data:
        raise PictureRejected(Reason.EMPTY_FILE, "The file has no bytes; supply it again.")
    if len(data) > limits.max_bytes:
        detail = f"The file has {len(data)} bytes and the limit is {limits.max_bytes}."
        raise PictureRejected(Reason.TOO_MANY_BYTES, detail)


def _read_header(data: bytes) -> Header:
    if _is_jpeg(data):
        return read_jpeg_header(data)
    if data.startswith(PNG_SIGNATURE):
        return read_png_header(data)
    _reject_other_format(data)


def _check_header(header: Header, limits: Limits) -> None:
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        size = f"{header.width} x {header.height} = {pixels} pixels"
        detail = f"The picture has {size} and the limit is {limits.max_pixels}; make it smaller."
        raise PictureRejected(Reason.TOO_MANY_PIXELS, detail)
    if max(header.width, header.height) > MAX_SIDE:
        size = f"{header.width} x {header.height} pixels"
        detail = f"The picture has {size} and the limit for a side is {MAX_SIDE}; make it smaller."
        raise PictureRejected(Reason.TOO_MANY_PIXELS, detail)
    too_many_passes = pixels * header.scan_count > MAX_PIXEL_SCANS
    if too_many_passes or header.coefficient_bytes > limits.max_pixels * BYTES_PER_PIXEL:
        scans = f"{pixels} pixels in {header.scan_count} scans"
        detail = f"The JPEG has {scans}, too many to decode; save it as a baseline JPEG or smaller."
        raise PictureRejected(Reason.TOO_MANY_PIXELS, detail)
    if header.frame_count > 1:
        _reject_animation("PNG")


def _check_end(content: bytes) -> None:
    """Reject a JPEG without an end: libjpeg takes the zeros of a half-done download for pixels."""
    if _is_jpeg(content) and not content.endswith(JPEG_END):
        raise PictureRejected(Reason.TRUNCATED, "The JPEG ends before its end-of-image marker.")


def _check_pixels(content: bytes, header: Header) -> None:
    """Decode stripped content in full, then drop the pixels.

    The reader classes are called directly, as `Image.open` would apply Pillow's own pixel limit
    and warnings, and look for formats that the signature has already ruled out.
    """
    reader = JpegImagePlugin.JpegImageFile if _is_jpeg(content) else PngImagePlugin.PngImageFile
    try:
        with _refuse_truncated(), reader(io.BytesIO(content)) as image:
            # Pillow allocates by its own reading of the size: it must be the one judged above.
            if image.size != (header.width, header.height):
                raise PictureRejected(Reason.BROKEN, "The file states two different sizes.")
            image.draft(None, (max(1, header.width // DRAFT), max(1, header.height // DRAFT)))
            image.load()
            if image.mode == "P" and image.palette is None:
                raise PictureRejected(
                    Reason.BROKEN, "Its colours are in a palette, and it has none."
                )
    except PictureRejected:
        raise
    except DECODER_ERRORS as error:
        is_truncated = any(message in str(error) for message in TRUNCATION_MESSAGES)
        reason = Reason.TRUNCATED if is_truncated else Reason.BROKEN
        cause = str(error) or type(error).__name__
        raise PictureRejected(reason, f"Decoding fails: {cause}.") from error


@contextlib.contextmanager
def _refuse_truncated() -> Iterator[None]:
    """Make Pillow refuse truncated images even if another library changed that."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _reject_other_format(data: bytes) -> NoReturn:
    """Reject a file that is neither JPEG nor PNG, naming its format where it is a known one."""
    format_name = _other_format(data)
    if format_name is None:
        detail = "The first bytes are not those of a known picture format."
        raise PictureRejected(Reason.NOT_AN_IMAGE, detail)
    if format_name == "GIF" and _is_animated_gif(data):
        _reject_animation(format_name)
    if format_name == "WebP" and _is_animated_webp(data):
        _reject_animation(format_name)
    detail = f"{format_name} files are not supported; convert it to JPEG or PNG."
    raise PictureRejected(Reason.UNSUPPORTED_FORMAT, detail)


def _reject_animation(format_name: str) -> NoReturn:
    detail = f"This is an animated {format_name}; save one frame of it as JPEG or PNG."
    raise PictureRejected(Reason.ANIMATED, detail)


def _other_format(data: bytes) -> str | None:
    for signature, format_name in OTHER_SIGNATURES.items():
        if data.startswith(signature):
            return format_name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    # Two letters alone could begin any text; the reserved zeros of a bitmap cannot.
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return "BMP"
    if data[4:8] == b"ftyp":
        return _iso_media_format(data)
    return None


def _iso_media_format(data: bytes) -> str | None:
    """Tell HEIC and AVIF from the videos and other files that share their container."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in (8, *range(16, size, 4))}
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEIC_BRANDS else None


def _is_animated_webp(data: bytes) -> bool:
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & WEBP_ANIMATION_FLAG)


def _is_animated_gif(data: bytes) -> bool:
    """Tell whether a second image follows; Pillow's answer can cost a canvas of any size."""
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
        pass  # cut short: what came before decides
    return image_count > 1


def _gif_palette_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _sentence(error: MalformedContainer) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."
