"""Limits for untrusted archives: unpacked size, compression ratio, commit and digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from zipfile import ZipFile, ZipInfo

from spark_src.errors import DatasetError

MAX_FILES = 5_000_000
MAX_FILE_BYTES = 2**30
"""Maximum size of one file, larger than any camera's picture."""
MAX_BYTES = 500 * 2**30
"""Maximum size of all files."""
MAX_RATIO = 100
"""Maximum ratio of unpacked to packed size. JPEG and PNG barely compress; zip bombs reach 1,000."""

_COMMIT = re.compile(r"/archive/([0-9a-f]{40})\.zip$")
_CHUNK = 2**20


def require_bounded(archive: ZipFile, archive_bytes: int) -> None:
    """Refuse an archive that would fill the disk, from its directory, without unpacking.

    The declared sizes are reliable limits: `zipfile` stops reading a member at its declared size.

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
        (len(starts) < len(members), "two of its files overlap"),
    ]
    found = next((text for applies, text in faults if applies), None)
    if found:
        raise DatasetError(found)


def require_commit(archive: ZipFile, url: str) -> None:
    """If the URL has a commit, require that the archive is of it. Git stores it in the zip comment.

    Raises:
        DatasetError: the archive is of another commit.
    """
    commit = _COMMIT.search(url)
    if commit and archive.comment.decode("ascii", "replace") != commit[1]:
        raise DatasetError(f"it is not the archive of the commit {commit[1]}")


def digest_of(archive: ZipFile, files: Mapping[str, ZipInfo]) -> str:
    """The sha256 of the `sha256sum` output of all files, sorted by path; independent of packing.

    Raises:
        DatasetError: a file does not have its declared size.
    """
    total = hashlib.sha256()
    for path, member in sorted(files.items()):
        digest, size = hashlib.sha256(), 0
        with archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        if size != member.file_size:
            raise DatasetError(f"its member {member.filename!r} does not have its declared size")
        total.update(f"{digest.hexdigest()}  {path}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
