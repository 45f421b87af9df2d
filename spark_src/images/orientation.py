"""Reads the orientation from EXIF or XMP. Pictures are rotated in `preprocess`.

Metadata is removed in `jpeg`, `png` and `reduce`.
"""

import re
import struct

NO_ROTATION = 1

EXIF_PREFIX = b"Exif\x00\x00"
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]")
ORIENTATION_TAG = 0x0112
INTEGER_FORMATS = {1: "B", 3: "H", 4: "L"}  # keyed by TIFF field type


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """Return the orientation, 1 to 8, from EXIF, otherwise from XMP, otherwise 1."""
    from_exif = _exif_orientation(exif)
    if from_exif is not None:
        return from_exif if 1 <= from_exif <= 8 else NO_ROTATION
    from_xmp = XMP_ORIENTATION.search(xmp)
    return int(from_xmp[1]) if from_xmp else NO_ROTATION


def _exif_orientation(exif: bytes) -> int | None:
    """Return the orientation tag, of any value, of an EXIF block; None if absent or unreadable.

    Parsed here because Pillow would have to open the file a second time, parse all tags, and warn
    about damage in any of them.
    """
    exif = exif.removeprefix(EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(order + "L", exif, 4)
        (tag_count,) = struct.unpack_from(order + "H", exif, offset)
        for position in range(offset + 2, offset + 2 + 12 * tag_count, 12):
            tag, field_type, value_count = struct.unpack_from(order + "HHL", exif, position)
            if tag == ORIENTATION_TAG and field_type in INTEGER_FORMATS and value_count == 1:
                value_format = order + INTEGER_FORMATS[field_type]
                return int(struct.unpack_from(value_format, exif, position + 8)[0])
    except struct.error:
        return None
    return None
