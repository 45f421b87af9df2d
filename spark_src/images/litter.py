"""Files that systems, cameras and exports leave beside pictures: ignored, and counted by kind."""

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
"""By name in lower case: files that macOS, Windows, KDE, Android, Picasa and Hadoop write."""

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
"""By name in lower case: folders of macOS, Windows, Synology, Android, Linux and Git."""

LABELS = "labels.csv"
"""Directly under the input: corrected labels, no picture; `images.labels` reads it."""

SIDECARS = frozenset({".xmp", ".aae", ".thm", ".lrv", ".pp3", ".dop"})
"""By ending: what cameras and editors keep beside a picture of the same name."""

# Google's exports put `photo.jpg.json` or `photo.jpg.supplemental-metadata.json` (cut to 46
# characters) beside `photo.jpg`.
_EXPORT = re.compile(r"\.(jpe?g|png|heic|heif|webp|gif|tiff?|mp4|mov)(\.[a-z-]*)?(\(\d+\))?\.json$")
_CHECKSUM = re.compile(r"^\..+\.crc$")


def litter_kind(path: str) -> str | None:
    """The kind of litter that a file is, as it is counted; None where it may be a picture.

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
