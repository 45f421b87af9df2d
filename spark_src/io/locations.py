"""Locations of files and folders on disk or in S3, and basic file operations."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from spark_src.errors import SettingsError, StorageError
from spark_src.io.aws import aws_errors, s3_files
from spark_src.io.conditional import put_if
from spark_src.io.padded import PaddedFile
from spark_src.io.retries import repeat

SCHEMES = ("file", "s3")

_COLOURED_ARROW = re.compile(r"\x1b\[\d+m|↳ ?")
"""Marks each cause in delta-rs's messages."""


@dataclass(frozen=True)
class Location:
    """A folder or file. `path` is absolute (file) or `bucket/key` (s3), never percent-encoded."""

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """Parse a local path (also relative or with `~`), a `file://` or an `s3://` URI.

        Raises:
            SettingsError: the text is empty, or its scheme, folder or bucket cannot be used.
        """
        if not text.strip():
            raise SettingsError("The location is empty; give a folder or an s3:// URI.")
        if text.startswith(("s3:", "s3a:")) and "://" not in text:
            raise SettingsError(f"{text!r} lacks a slash; use s3://bucket/key.")
        if "://" not in text:
            return cls("file", _resolved(str(Path(text).expanduser())))
        scheme, rest = text.split("://", 1)
        if scheme not in SCHEMES:
            raise SettingsError(
                f"{text!r} is not a location this project reads: its scheme is {scheme!r}. "
                "Use a local path, file:///folder or s3://bucket/key."
            )
        if scheme == "file":
            if not rest.startswith("/"):
                raise SettingsError(f"{text!r} names no absolute path; use file:///folder.")
            return cls(scheme, _resolved(unquote(rest, errors="surrogateescape")))
        if not rest or rest.startswith("/"):
            raise SettingsError(f"{text!r} names no bucket; use s3://bucket/key.")
        return cls(scheme, rest.rstrip("/"))

    def __truediv__(self, name: str) -> Location:
        return Location(self.scheme, f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        """The path as a user would type it: a plain path on disk, or a URI in S3."""
        return self.path if self.scheme == "file" else self.uri

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Location:
        """The folder that contains it."""
        return Location(self.scheme, self.path.rsplit("/", 1)[0])

    def relative(self, path: str) -> str:
        """Make a path that the filesystem lists below this location relative to it."""
        return path.removeprefix(f"{self.path.rstrip('/')}/")

    @property
    def uri(self) -> str:
        """A valid URI, percent-encoded."""
        return f"{self.scheme}://{quote(self.path, errors='surrogateescape')}"

    @property
    def hadoop(self) -> str:
        """The URI for Spark: Hadoop does not percent-decode paths."""
        return f"{self.scheme}://{self.path}"

    @property
    def filesystem(self) -> fs.FileSystem:
        """The pyarrow file system for `path`."""
        if self.scheme == "file":
            return fs.LocalFileSystem()
        return s3_files()

    @property
    def bucket_and_key(self) -> tuple[str, str]:
        """Bucket and key of an S3 location."""
        bucket, _, key = self.path.partition("/")
        return bucket, key

    def read(self) -> bytes:
        """Read the whole file.

        Raises:
            FileNotFoundError: there is no such file.
        """

        def read() -> bytes:
            with self.open() as stream:
                return bytes(stream.read())

        with aws_errors(f"reading {self}"):
            return repeat(read)

    def open(self) -> pa.NativeFile | PaddedFile:
        """Open the file for random access.

        Raises:
            FileNotFoundError: there is no such file.
        """
        file = self.filesystem.open_input_file(self.path)
        return file if self.scheme == "file" else PaddedFile(file)

    def write(self, content: bytes | memoryview) -> None:
        """Write a file; its folder must exist."""
        with aws_errors(f"writing {self}"), self.filesystem.open_output_stream(self.path) as stream:
            stream.write(content)

    def create(self, content: bytes) -> None:
        """Create a new file atomically; its folder must exist.

        Raises:
            FileExistsError: the file exists. In S3 a conditional write ensures this.
            AwsError: S3 rejected the write for another reason.
        """
        if self.scheme != "s3":
            path = Path(self.path)
            unfinished = path.with_name(f".{path.name}.unfinished")
            unfinished.write_bytes(content)
            try:
                os.link(unfinished, path)
            finally:
                unfinished.unlink()
            return
        if not put_if(self, content):
            raise FileExistsError(str(self))

    def make_folder(self) -> None:
        """Create the folder and its parents, if they do not exist.

        S3 has no folders. pyarrow would write an empty object for each of them, also above the
        storage, where no role may write.
        """
        if self.scheme != "s3":
            self.filesystem.create_dir(self.path, recursive=True)

    def delete_folder(self) -> None:
        """Delete a folder and its contents, if it exists."""
        try:
            self.filesystem.delete_dir(self.path)
        except FileNotFoundError:
            return

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        return bool(self._info.type != fs.FileType.NotFound)

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self._info.type == fs.FileType.Directory)

    @property
    def size(self) -> int | None:
        """Size of the file in bytes; None if there is none."""
        size: int | None = self._info.size
        return size

    @property
    def _info(self) -> fs.FileInfo:
        with aws_errors(f"inspecting {self}"):
            return self.filesystem.get_file_info(self.path)

    def files(self) -> list[fs.FileInfo]:
        """Every file below this folder, sorted by path; empty if the folder does not exist."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        with aws_errors(f"listing {self}"):
            found = self.filesystem.get_file_info(selector)
        return sorted((f for f in found if f.type == fs.FileType.File), key=lambda f: f.path)


def unwritable_error(location: Location, error: OSError) -> StorageError:
    """The error to raise if a file cannot be written.

    Args:
        location: the file, or its folder.
        error: from Python, or from delta-rs, whose last line has the reason.
    """
    text = _COLOURED_ARROW.sub("", error.strerror or str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return StorageError(
        f"{location} cannot be written ({reason}). Nothing was committed, and the "
        "previous version is still current. Free space on the disk, or give this user the right to "
        "write there, and start the run again."
    )


def _resolved(path: str) -> str:
    """An absolute path without `..` and `//`; links are not resolved."""
    absolute = "/" + os.path.abspath(path).lstrip("/")
    # In the C locale, Python decodes non-ASCII bytes to surrogates; Arrow requires UTF-8.
    return absolute.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
