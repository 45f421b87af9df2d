"""Recognizes files that systems, cameras and exports leave beside pictures. They are ignored."""

from __future__ import annotations

import re

SYSTEM_FILES = {
    ".ds_store": ".DS_Store",
    ".localized": ".localized",
    ".directory": ".directory",
    ".nomedia": ".nomedia",
    "icon\r": "Icon",
    "thumbs.db": "Thumbs.db",
    "ehthumbs.db": "Thumbs.db",
    "desktop.ini": "desktop.ini",
    "picasa.ini": "picasa.ini",
    ".picasa.ini": "picasa.ini",
    "_success": "_SUCCESS",
}
"""Lower-case file names written by macOS, Windows, KDE, Android, Picasa and Hadoop."""

SYSTEM_FOLDERS = frozenset(
    {
        "__macosx",
        ".spotlight-v100",
        ".fseventsd",
        ".temporaryitems",
        ".trashes",
        "$recycle.bin",
        "system volume information",
        "@eadir",
        ".thumbnails",
        "lost+found",
        ".git",
    }
)
"""Lower-case folder names of macOS, Windows, Synology, Android, Linux and Git."""

LABELS = "labels.csv"
"""File of corrected labels at the top of the input; read by `images.labels`."""

SIDECARS = frozenset({".xmp", ".aae", ".thm", ".lrv", ".pp3", ".dop"})
"""Extensions of files that cameras and editors store beside a picture of the same name."""

# Google exports put `photo.jpg.json` or `photo.jpg.supplemental-metadata.json` (cut to 46
# characters) beside `photo.jpg`.
_EXPORT = re.compile(r"\.(jpe?g|png|heic|heif|webp|gif|tiff?|mp4|mov)(\.[a-z-]*)?(\(\d+\))?\.json$")
_CHECKSUM = re.compile(r"^\..+\.crc$")


def litter_kind(path: str) -> str | None:
    """The kind of litter of a file, or None if it may be a picture.

    >>> litter_kind("Training/Apple/.DS_Store")
    '.DS_Store'
    >>> litter_kind("Training/Apple/1.jpg")
    """
    *folders, name = path.lower().split("/")
    if path == LABELS or name in SYSTEM_FILES:
        return SYSTEM_FILES.get(name, LABELS)
    if name.startswith("._"):
        return "AppleDouble"
    if any(folder in SYSTEM_FOLDERS or folder.startswith(".trash-") for folder in folders):
        return "system folders"
    if _CHECKSUM.match(name):
        return "Hadoop checksums"
    if name[name.rfind(".") :] in SIDECARS or _EXPORT.search(name):
        return "sidecars"
    return None
