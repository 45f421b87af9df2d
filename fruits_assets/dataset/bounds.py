"""What an archive from elsewhere may be: its size unpacked, its ratio, its content's digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from zipfile import ZipFile, ZipInfo

from spark_src.errors import DatasetError

MAX_FILES = 5_000_000
MAX_FILE_BYTES = 2**30
"""Of one file: no camera's picture is as large."""
MAX_BYTES = 500 * 2**30
"""Of all files."""
MAX_RATIO = 100
"""Of all files to the archive. JPEG and PNG are compressed already; a bomb has 1,000."""

_COMMIT = re.compile(r"/archive/([0-9a-f]{40})\.zip$")
_CHUNK = 2**20


def require_bounded(archive: ZipFile, archive_bytes: int) -> None:
    """Refuse an archive that would fill the disk, by what it says of itself; nothing is unpacked.

    What a member says is kept to: `zipfile` stops where more comes.

    Raises:
        DatasetError: there are too many files, or they are too large.
    """
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    largest = max((member.file_size for member in members), default=0)
    starts = {member.header_offset for member in members}
    faults = [
        (len(members) > MAX_FILES, f"it has {len(members):,} files, more than {MAX_FILES:,}"),
        (
            largest > MAX_FILE_BYTES,
            f"a file in it has {largest:,} bytes, more than {MAX_FILE_BYTES:,}",
        ),
        (total > MAX_BYTES, f"unpacked it has {total:,} bytes, more than {MAX_BYTES:,}"),
        (
            total > MAX_RATIO * max(archive_bytes, 1),
            f"unpacked it is {total // max(archive_bytes, 1):,} times as large, more than "
            f"{MAX_RATIO} times",
        ),
        (len(starts) < len(members), "two of its files share their bytes"),
    ]
    found = next((text for applies, text in faults if applies), None)
    if found:
        raise DatasetError(found)


def require_commit(archive: ZipFile, url: str) -> None:
    """Where the address names a commit: see that the archive is of it; Git writes that down.

    Raises:
        DatasetError: it is of another one.
    """
    named = _COMMIT.search(url)
    if named and archive.comment.decode("ascii", "replace") != named[1]:
        raise DatasetError(f"it is not the archive of the commit {named[1]}")


def digest_of(archive: ZipFile, files: Mapping[str, ZipInfo]) -> str:
    """The sha256 of what `sha256sum` says of all files, by path: however they were packed.

    Raises:
        DatasetError: a file is not as large as it says.
    """
    total = hashlib.sha256()
    for path, member in sorted(files.items()):
        digest, size = hashlib.sha256(), 0
        with archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        if size != member.file_size:
            raise DatasetError(f"its member {member.filename!r} is not as large as it says")
        total.update(f"{digest.hexdigest()}  {path}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
