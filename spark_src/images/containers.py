"""Errors and header type shared by the parsers of picture file formats.

Each format has a separate module. Accepting or rejecting pictures belongs in `validate`.
"""

from dataclasses import dataclass

from spark_src.images.orientation import NO_ROTATION

# Chunks of a PNG, or markers of a JPEG outside its scans. Real files of 50 MB have a few thousand.
# Each takes a decoder 15 us even if it is empty, and four million fit into 50 MB.
MAX_PARTS = 65_536


class MalformedContainer(ValueError):
    """The file's structure is invalid; the message states the problem."""


class TruncatedContainer(MalformedContainer):
    """The file's structure is valid, but the file ends too early."""


@dataclass(frozen=True, slots=True)
class Header:
    """Header fields of a file: size in stored pixels, EXIF orientation (1 to 8), frame count."""

    width: int
    height: int
    orientation: int = NO_ROTATION
    frame_count: int = 1
    scan_count: int = 1
    """Decoder passes over the pixels. A progressive JPEG may store each bit in a separate scan."""
    coefficient_bytes: int = 0
    """Memory the decoder needs between the scans of a JPEG."""
