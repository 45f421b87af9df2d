"""Recognises files that systems, cameras and exports leave beside pictures. They are ignored."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

SYSTEM_FILES = {
    ".ds_store": ".DS_Store",
    ".localized": ".localized",
    ".directory": ".directory",
    ".nomedia": ".nomedia",
    "icon\r": "Icon",
    "thumbs.db": "Thumbs.db",
    "ehthumbs.db": "Thumbs.db",
    "ehthumbs_vista.db": "Thumbs.db",
    "zbthumbnail.info": "Thumbs.db",
    ".apdisk": ".DS_Store",
    ".volumeicon.icns": ".DS_Store",
    ".bridgesort": "Bridge",
    ".bridgelabelsandratings": "Bridge",
    ".dropbox": "Dropbox",
    ".stignore": "Syncthing",
    ".gitignore": "Git",
    ".gitattributes": "Git",
    ".gitkeep": "Git",
    "desktop.ini": "desktop.ini",
    "picasa.ini": "picasa.ini",
    ".picasa.ini": "picasa.ini",
    "_success": "_SUCCESS",
}
"""Lower-case file names written by macOS, Windows, KDE, Android, Hadoop and other programs."""

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
        "#recycle",
        "@recycle",
        ".@__thumb",
        "@recently-snapshot",
        ".thumbnails",
        ".appledouble",
        ".documentrevisions-v100",
        ".dropbox.cache",
        ".stfolder",
        ".stversions",
        ".ipynb_checkpoints",
        ".svn",
        ".hg",
        "lost+found",
        ".git",
    }
)
"""Lower-case folder names of macOS, Windows, Synology, QNAP, Android, Linux and other programs."""

LABELS = "labels.csv"
"""File of corrected labels at the top of the input; read by `images.labels`."""

SIDECARS = frozenset(
    {".xmp", ".aae", ".thm", ".lrv", ".pp3", ".dop", ".on1", ".cos", ".vrd", ".nksc"}
)
"""Extensions of files that cameras and editors store beside a picture of the same name."""

# Google exports put `photo.jpg.json` or `photo.jpg.supplemental-metadata.json` (cut to 46
# characters) beside `photo.jpg`.
_EXPORT = re.compile(
    r"\.(jpe?g|png|hei[cf]|webp|avif|gif|tiff?|mp4?|mov)(\.[a-z-]*)?(\(\d+\))?\.json$"
)
EXPORT_FILES = frozenset(
    {
        "metadata.json",
        "print-subscriptions.json",
        "shared_album_comments.json",
        "user-generated-memory-titles.json",
    }
)
"""Files that Google exports put into each album."""

# Android keeps deleted and unfinished photos beside the others, NFS and FUSE deleted files.
_DELETED = re.compile(r"^\.((trashed|pending)-\d+-.+|(fuse_hidden|nfs)[0-9a-f]+)$")
_CHECKSUM = re.compile(r"^\..+\.crc$")

_PATTERNS = {"Hadoop checksums": _CHECKSUM, "deleted files": _DELETED, "sidecars": _EXPORT}


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
    if name[name.rfind(".") :] in SIDECARS or name in EXPORT_FILES:
        return "sidecars"
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(name)), None)


LIVE_VIDEOS = "videos of live photos"

_VIDEO = r"\.(mov|mp4|mp)$"
_PICTURE = r"\.(jpe?g|hei[cf]|png|webp|avif)$"


def are_live_videos(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each path is the video of a live photo: its picture has the same name beside it.

    Other videos are not litter: they are rejected, with a reason.
    """
    names = pc.utf8_lower(paths)
    pictures = names.filter(pc.match_substring_regex(names, _PICTURE))
    stems = pc.replace_substring_regex(pictures, _PICTURE, "").unique()
    videos = pc.replace_substring_regex(names, _VIDEO, "")
    # Google exports `PXL_1.MP` beside `PXL_1.MP.jpg`.
    has_picture = pc.or_(pc.is_in(videos, stems), pc.is_in(names, stems))
    return pc.and_(pc.match_substring_regex(names, _VIDEO), has_picture)
