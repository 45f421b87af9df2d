"""Lists the input folder as Arrow columns. No file is opened here.

Symbolic links are not followed. File names are preserved, even if they are not valid UTF-8.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spark_src.errors import InputError
from spark_src.images.litter import LIVE_VIDEOS, are_live_videos, litter_kind
from spark_src.images.names import bytes_of, text_of
from spark_src.images.rejection import Reason
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location
from spark_src.text import counted

FILES = pa.schema(
    [
        ("path", pa.string()),
        ("raw_path", pa.binary()),
        ("source_bytes", pa.int64()),
        ("source_modified", pa.timestamp("us", tz="UTC")),
        ("source_etag", pa.string()),
    ]
)
"""One row per file. `path` is relative to the input and escaped by `text_of`. `raw_path` is the
original name if it differs from `path`, otherwise null. ETags are those of S3, and null on disk."""

REFUSED = pa.schema(
    [
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("source_modified", pa.timestamp("us", tz="UTC")),
        ("source_etag", pa.string()),
    ]
)
"""Entries that cannot be read as files: columns of `rejected_images`."""

_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, as Python and databases support. File systems may report any timestamp."""

_ROWS_AT_ONCE = 50_000
"""Rows kept as Python objects before they are converted to an Arrow batch."""


@dataclass(frozen=True)
class Listing:
    """All entries under the input: files, refused entries and ignored files."""

    root: Location
    files: pa.Table
    """Columns of `FILES`, sorted by path."""
    refused: pa.Table
    """Columns of `REFUSED`: links, devices, and folders that cannot be opened."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Litter and sidecar files: kind -> number of files."""

    @property
    def n_pictures(self) -> int:
        """Number of files that may be pictures. The rejected share is relative to it."""
        return int(self.files.num_rows + self.refused.num_rows)

    @property
    def n_listed(self) -> int:
        """Number of all entries, including ignored files."""
        return self.n_pictures + sum(self.ignored.values())

    @property
    def bytes(self) -> int:
        """Total size of the files, in bytes."""
        return int(pc.sum(self.files["source_bytes"]).as_py() or 0)

    def __str__(self) -> str:
        text = f"{counted(self.n_pictures, 'file')}, {self.bytes:,} bytes under {self.root}"
        if not self.ignored:
            return text
        return f"{text}; {sum(self.ignored.values()):,} ignored ({_counts(self.ignored)})"


def list_files(root: Location) -> Listing:
    """List all files under the input.

    Raises:
        InputError: the input does not exist, is a file, or contains no files.
        AwsError: the request to S3 failed.
    """
    listing = _list_s3(root) if root.scheme == "s3" else _list_local(root)
    if not listing.n_pictures:
        raise _empty_input_error(root, listing.ignored)
    return listing


def require_some_file(root: Location) -> None:
    """Check that the input exists and contains at least one file.

    Raises:
        InputError: the input does not exist, is a file, or contains no files.
        AwsError: the request to S3 failed.
    """
    if root.scheme == "s3":
        bucket, prefix = _bucket_and_prefix(root)
        with aws_errors(f"listing {root}"):
            page = client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        found = bool(page.get("Contents"))
    else:
        entry, error = next(_entries(bytes_of(root.path)), (None, None))
        if error is not None and entry == bytes_of(root.path):
            raise _unreadable_input_error(root, error)
        found = entry is not None
    if not found:
        raise _empty_input_error(root)


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))


def _empty_input_error(root: Location, ignored: Mapping[str, int] | None = None) -> InputError:
    if not root.exists():
        return InputError(
            f"The input {root} does not exist. Set FRUITS_INPUT to a folder of pictures."
        )
    if not root.is_folder():
        return InputError(f"The input {root} is a file. Set FRUITS_INPUT to a folder of pictures.")
    content = f"pictures, only ignored files ({_counts(ignored)})" if ignored else "files"
    return InputError(
        f"The input {root} contains no {content}. Set FRUITS_INPUT to a folder of pictures."
    )


def _unreadable_input_error(root: Location, error: OSError | None) -> InputError:
    if not root.is_folder():
        return _empty_input_error(root)
    return InputError(f"The input {root}: {_unreadable_detail(error)}.")


def fingerprint(listing: Listing) -> str:
    """A hash of all paths, sizes, modification times and ETags."""
    digest = hashlib.sha256()
    for table in (listing.files.drop_columns(["raw_path"]), listing.refused):
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            digest.update(batch.serialize())
    return digest.hexdigest()


class _Columns:
    """Collects rows and converts them to Arrow batches."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, *row: Any) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else [() for _ in self._schema]
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(columns, self._schema, strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def table(self) -> pa.Table:
        """All rows, sorted by path."""
        self._flush()
        table = pa.Table.from_batches(self._batches, self._schema)
        return table.sort_by("path").combine_chunks()


def _list_local(root: Location) -> Listing:
    files, refused, ignored = _Columns(FILES), _Columns(REFUSED), Counter[str]()
    start = len(bytes_of(root.path.rstrip("/"))) + 1
    for entry, error in _entries(bytes_of(root.path)):
        relative = (entry if isinstance(entry, bytes) else entry.path)[start:]
        path = text_of(relative)
        if error is not None or isinstance(entry, bytes):
            if not relative:
                raise _unreadable_input_error(root, error)
            refused.add(path, 0, Reason.UNREADABLE, _unreadable_detail(error), None, None)
            continue
        kind = litter_kind(path)
        if kind:
            ignored[kind] += 1
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as problem:
            refused.add(path, 0, *_stat_failure(problem), None, None)
            continue
        modified = min(max(found.st_mtime_ns // 1000, _FIRST_MICROSECOND), _LAST_MICROSECOND)
        reason = _refusal(found.st_mode)
        if reason:
            refused.add(path, found.st_size, *reason, modified, None)
            continue
        raw = None if path.encode() == relative else relative
        files.add(path, raw, found.st_size, modified, None)
    return _listing(root, files.table(), refused.table(), ignored)


def _listing(root: Location, files: pa.Table, refused: pa.Table, ignored: Counter[str]) -> Listing:
    is_live = are_live_videos(files["path"])
    count = pc.sum(is_live).as_py() or 0
    if count:
        files = files.filter(pc.invert(is_live)).combine_chunks()
        ignored[LIVE_VIDEOS] += count
    return Listing(root, files, refused, dict(ignored))


def _entries(root: bytes) -> Iterator[tuple[os.DirEntry[bytes] | bytes, OSError | None]]:
    """All non-folders below a folder, and folders that cannot be opened with their error."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            yield folder, error
            continue
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry, None


def _refusal(mode: int) -> tuple[str, str] | None:
    """Reason and detail if an entry is not a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return Reason.LINK, "a symbolic link: put the file itself here, or a hard link to it"
    return Reason.NOT_A_FILE, "a pipe, socket or device: remove it"


def _unreadable_detail(error: OSError | None) -> str:
    if error is not None and error.errno == errno.ENAMETOOLONG:
        return "the path of the folder is longer than the system can open: move it further up"
    cause = error.strerror if error else None
    return f"the folder cannot be opened ({cause}): grant read and execute permission on it"


def _stat_failure(error: OSError) -> tuple[str, str]:
    """Reason and detail if `stat` failed."""
    if isinstance(error, FileNotFoundError):
        return Reason.VANISHED, "the file was deleted while the input was listed"
    return Reason.UNREADABLE, (
        f"its status cannot be read ({error.strerror}): grant execute permission on its folder"
    )


def _list_s3(root: Location) -> Listing:
    files, ignored = _Columns(FILES), Counter[str]()
    bucket, prefix = _bucket_and_prefix(root)
    with aws_errors(f"listing {root}"):
        pages = client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                path = item["Key"][len(prefix) :]
                if not path or path.endswith("/"):
                    continue  # a placeholder object that S3 consoles create for a folder
                kind = litter_kind(path)
                if kind:
                    ignored[kind] += 1
                    continue
                files.add(path, None, item["Size"], item["LastModified"], item["ETag"].strip('"'))
    return _listing(root, files.table(), REFUSED.empty_table(), ignored)


def _bucket_and_prefix(root: Location) -> tuple[str, str]:
    bucket, key = root.bucket_and_key
    return bucket, f"{key.rstrip('/')}/" if key else ""
