"""What the byte structures of picture files have in common: errors and the facts of a header.

Each format's structure is in a module of its own; judging a picture belongs in `validate`.
"""

from dataclasses import dataclass

from spark_src.images.exif import NO_ROTATION

# Chunks of a PNG, or markers of a JPEG outside its scans. Real files of 50 MB have some thousands;
# each costs a decoder 15 us even where it is empty, and four million fit into 50 MB.
MAX_PARTS = 65_536


class MalformedContainer(ValueError):
    """The file's structure cannot be followed; the message names what is wrong."""


class TruncatedContainer(MalformedContainer):
    """The file's structure is sound as far as it goes, but its bytes end too early."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: pixels as stored, EXIF orientation (1 to 8), frame count."""

    width: int
    height: int
    orientation: int = NO_ROTATION
    frame_count: int = 1
    scan_count: int = 1
    """How often the decoder passes over the pixels: a JPEG may say each bit of them by itself."""
    coefficient_bytes: int = 0
    """What the decoder keeps between several scans of a JPEG."""
