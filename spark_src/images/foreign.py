"""Opens pictures that are neither JPEG nor PNG: HEIC with pi-heif, the others with Pillow.

`validate` checks the size before anything is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pi_heif
from PIL import AvifImagePlugin, BmpImagePlugin, Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from spark_src.images.formats import Format
from spark_src.images.orientation import NO_ROTATION, orientation_of
from spark_src.images.rejection import PictureRejected, Reason

READERS: dict[Format, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    Format.WEBP: WebPImagePlugin.WebPImageFile,
    Format.AVIF: AvifImagePlugin.AvifImageFile,
    Format.TIFF: TiffImagePlugin.TiffImageFile,
    Format.BMP: BmpImagePlugin.BmpImageFile,
}
# These integer and float modes do not define a white value.
UNKNOWN_SCALE = frozenset({"I", "F"})
SUBFILE_TYPE, REDUCED = 254, 1  # a smaller copy of another page
DNG_VERSION = 50706
MOST_COPIES = 8
# Share of the pixel limit. Pillow's WebP decoder makes several copies: 926 MB for 52 megapixels.
PIXEL_SHARES = {Format.WEBP: 0.5}


@dataclass(frozen=True)
class OpenedPicture:
    """A picture whose header is parsed, but whose pixels are not decoded yet."""

    size: tuple[int, int]
    _image: Image.Image | pi_heif.HeifImage

    def decode(self) -> tuple[Image.Image, int]:
        """Decode the pixels; also returns the EXIF orientation, 1 to 8, still to be applied."""
        if isinstance(self._image, pi_heif.HeifImage):
            return self._image.to_pillow(), NO_ROTATION  # libheif has already rotated it
        self._image.load()
        if self._image.mode in UNKNOWN_SCALE:
            detail = f"Pillow mode {self._image.mode} is not supported; save it as JPEG or PNG."
            raise PictureRejected(Reason.UNSUPPORTED_FORMAT, detail)
        exif, xmp = (self._image.info.get(name) for name in ("exif", "xmp"))
        is_upright = self._image.format == "TIFF"  # Pillow rotates it on load
        orientation = NO_ROTATION if is_upright else orientation_of(exif or b"", xmp or b"")
        return self._image, orientation


def open_picture(data: bytes, file_format: Format) -> OpenedPicture:
    """Read a file's header.

    Raises:
        PictureRejected: the file contains several pictures.
        OSError, ValueError and others of `validate.DECODER_ERRORS`: decoding failed.
    """
    if file_format is Format.HEIC:
        heif = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
        if len(heif) > 1:
            _reject_pages(file_format)
        return OpenedPicture(heif[0].size, heif[0])
    image = READERS[file_format](io.BytesIO(data))
    if file_format is Format.TIFF:
        _reject_raw(image)
        if _has_pages(image):
            _reject_pages(file_format)
        # Seeking to other pages has changed the state of the reader.
        image = READERS[file_format](io.BytesIO(data))
    elif getattr(image, "n_frames", 1) > 1:
        detail = f"This is an animated {file_format}; save one frame of it as JPEG or PNG."
        raise PictureRejected(Reason.ANIMATED, detail)
    return OpenedPicture(image.size, image)


def _reject_raw(image: Image.Image) -> None:
    """Reject raw files, which are TIFF files whose first picture is a small preview."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if DNG_VERSION in tags or int(tags.get(SUBFILE_TYPE, 0)) & REDUCED:
        detail = "This is a camera's raw file, which starts with a preview; save it as JPEG."
        raise PictureRejected(Reason.UNSUPPORTED_FORMAT, detail)


def _has_pages(image: Image.Image) -> bool:
    """Whether a TIFF has pages other than reduced copies of the first."""
    try:
        for number in range(1, MOST_COPIES + 1):
            image.seek(number)
            if not int(image.tag_v2.get(SUBFILE_TYPE, 0)) & REDUCED:  # type: ignore[attr-defined]
                return True
    except EOFError:
        return False
    return True


def _reject_pages(file_format: Format) -> None:
    detail = f"This {file_format} contains several pictures; save each as a separate file."
    raise PictureRejected(Reason.SEVERAL_PAGES, detail)
