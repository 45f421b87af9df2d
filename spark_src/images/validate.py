"""Validates a file and removes its metadata, or rejects it with a reason.

All pixels are decoded to prove that they can be. Large pictures are reduced in `reduce`.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

import simplejpeg
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from spark_src.images import jpeg, png
from spark_src.images.containers import Header, MalformedContainer, TruncatedContainer
from spark_src.images.foreign import PIXEL_SHARES, open_picture
from spark_src.images.formats import READABLE, Format, format_of, is_animation
from spark_src.images.reduce import encode_lossless, encode_reduced
from spark_src.images.rejection import Limits, PictureRejected, Reason

# Exceptions that decoders raise on damaged or hostile bytes. Not MemoryError: it may be due to the
# worker rather than the picture, so the task has to be retried.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Pillow has no exception type for truncated files, only these messages.
TRUNCATION_MESSAGES = ("image file is truncated", "Truncated File Read")

# The longest side of a JPEG. A PNG's could be 2 ** 31, and the decoder buffers two more rows.
MAX_SIDE = 65_535
BYTES_PER_PIXEL = 4  # Pillow, colour modes
# Pixels times decoder passes. Ordinary progressive JPEGs have about 10 scans. A file of 300 kB can
# have 300 scans of 50 million pixels, which took 22 s to decode.
MAX_PIXEL_SCANS = 1_000_000_000
# Decode a JPEG at an eighth of its size. All coefficients are still decoded.
DRAFT = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """A decodable JPEG or PNG without metadata.

    Width and height are in stored pixels, before the EXIF orientation (1 to 8) is applied.
    """

    content: bytes
    width: int
    height: int
    orientation: int


DEFAULT_LIMITS = Limits()


def clean_picture(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Validate a picture file, decode its pixels, and return the picture to store.

    A JPEG or PNG within the side limit keeps its encoded pixels. If the encoded data may contain
    anything but pixels, or the format is HEIC, WebP, AVIF, TIFF or BMP, the pixels are stored as
    PNG. A larger picture is reduced to the limit and stored as JPEG.

    Raises PictureRejected for any bytes that are not an acceptable picture.
    """
    _check_byte_count(data, limits)
    file_format = _readable_format(data)
    try:
        with _refuse_truncated():
            if file_format in (Format.JPEG, Format.PNG):
                return _clean_native(data, file_format, limits)
            return _clean_foreign(data, file_format, limits)
    except PictureRejected:
        raise
    except TruncatedContainer as error:
        raise PictureRejected(Reason.TRUNCATED, _sentence(error)) from error
    except MalformedContainer as error:
        raise PictureRejected(Reason.BROKEN, _sentence(error)) from error
    except DECODER_ERRORS as error:
        is_truncated = any(message in str(error) for message in TRUNCATION_MESSAGES)
        reason = Reason.TRUNCATED if is_truncated else Reason.BROKEN
        cause = " ".join(str(error).split()) or type(error).__name__  # libheif adds line breaks
        raise PictureRejected(reason, f"Decoding fails: {cause}.") from error


def _check_byte_count(data: bytes, limits: Limits) -> None:
    if not data:
        raise PictureRejected(Reason.EMPTY_FILE, "The file is empty; upload it again.")
    if len(data) > limits.max_bytes:
        detail = f"The file has {len(data)} bytes and the limit is {limits.max_bytes}."
        raise PictureRejected(Reason.TOO_MANY_BYTES, detail)


def _readable_format(data: bytes) -> Format:
    file_format = format_of(data)
    if file_format is None:
        detail = "The first bytes are not those of a known picture format."
        raise PictureRejected(Reason.NOT_AN_IMAGE, detail)
    if is_animation(data, file_format):
        _reject_animation(file_format)
    if file_format not in READABLE:
        detail = f"{file_format} files are not supported; convert it to JPEG or PNG."
        raise PictureRejected(Reason.UNSUPPORTED_FORMAT, detail)
    return file_format


def _clean_native(data: bytes, file_format: Format, limits: Limits) -> Picture:
    is_jpeg = file_format is Format.JPEG
    structure = jpeg.find_segments(data) if is_jpeg else None
    header = jpeg.read_jpeg_header(data, structure) if is_jpeg else png.read_png_header(data)
    _check_header(header, limits)
    content = jpeg.strip_jpeg(data, structure) if is_jpeg else png.strip_png(data)
    # Without an end marker, libjpeg decodes the zeros of an incomplete download as pixels.
    if is_jpeg and not content.endswith(jpeg.JPEG_END):
        raise PictureRejected(Reason.TRUNCATED, "The JPEG ends before its end-of-image marker.")
    with _open(content, header, is_jpeg) as image:
        if max(image.size) > limits.max_side:
            return _picture(encode_reduced(image, limits.max_side), header.orientation)
        known = structure if content == data else None
        kept = _clean_jpeg(content, image, known) if is_jpeg else _clean_png(content, image)
    return Picture(kept, header.width, header.height, header.orientation)


def _clean_foreign(data: bytes, file_format: Format, limits: Limits) -> Picture:
    opened = open_picture(data, file_format)
    share = PIXEL_SHARES.get(file_format, 1.0)
    _check_header(Header(*opened.size), replace(limits, max_pixels=int(limits.max_pixels * share)))
    image, orientation = opened.decode()
    is_large = max(image.size) > limits.max_side
    return _picture(
        encode_reduced(image, limits.max_side) if is_large else _as_png(image), orientation
    )


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
        _reject_animation(Format.PNG)


def _open(content: bytes, header: Header, is_jpeg: bool) -> ImageFile.ImageFile:
    """Open stripped content.

    The reader classes are called directly: `Image.open` would apply Pillow's pixel limit and
    warnings, and try formats that the signature has already ruled out.
    """
    reader = JpegImagePlugin.JpegImageFile if is_jpeg else PngImagePlugin.PngImageFile
    image = reader(io.BytesIO(content))
    # Pillow allocates by the size it parses, which must be the one checked above.
    if image.size != (header.width, header.height):
        raise PictureRejected(Reason.BROKEN, "The file states two different sizes.")
    return image


def _clean_jpeg(
    content: bytes, image: ImageFile.ImageFile, structure: jpeg.Structure | None
) -> bytes:
    if jpeg.has_only_pixels(content, structure) and _decodes_without_warning(content, image.mode):
        return content
    return encode_lossless(image)


def _decodes_without_warning(content: bytes, mode: str) -> bool:
    """Whether libjpeg decodes the file without warnings, which Pillow would hide.

    All coefficients are decoded, at an eighth of the size.
    """
    colours = "CMYK" if mode == "CMYK" else "GRAY"
    try:
        simplejpeg.decode_jpeg(content, colours, min_height=1, min_width=1, strict=True)
    except ValueError:
        return False
    return True


def _clean_png(content: bytes, image: ImageFile.ImageFile) -> bytes:
    image.load()
    if image.mode == "P" and image.palette is None:
        raise PictureRejected(Reason.BROKEN, "The PNG uses a palette but contains none.")
    if not png.has_only_pixels(content):
        return _as_png(image)
    return _without_unused_colours(content, image)


def _as_png(image: Image.Image) -> bytes:
    """Encode exactly these pixels as PNG."""
    return _without_unused_colours(png.strip_png(encode_lossless(image)), image)


def _without_unused_colours(content: bytes, image: Image.Image) -> bytes:
    """Blank the palette's other entries, which may contain a text."""
    return png.blank_unused_colours(content, image.histogram()) if image.mode == "P" else content


def _picture(content: bytes, orientation: int) -> Picture:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
        return Picture(content, *image.size, orientation)


@contextlib.contextmanager
def _refuse_truncated() -> Iterator[None]:
    """Make Pillow reject truncated images even if another library changed the setting."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _reject_animation(file_format: Format) -> NoReturn:
    detail = f"This is an animated {file_format}; save one frame of it as JPEG or PNG."
    raise PictureRejected(Reason.ANIMATED, detail)


def _sentence(error: MalformedContainer) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."
