"""Reads input files ahead in threads, to hide the latency of S3.

A file that cannot be read gets a row with the reason. Any other S3 error ends the run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from spark_src.errors import AwsError
from spark_src.images.names import bytes_of
from spark_src.images.rejection import Reason
from spark_src.io.aws import aws_errors
from spark_src.io.locations import Location
from spark_src.io.retries import repeat

THREADS_LOCAL = 4
THREADS_S3 = 48
"""Each file takes two round trips. At 30 ms each, a task reads 800 files per second."""

BYTES_AHEAD = 64 * 2**20
"""Bytes read ahead at most, so that a worker's memory does not grow with the file sizes."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file in the listing."""

    path: str
    raw_path: bytes
    bytes: int


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """The reason a file could not be read."""

    reason: Reason
    detail: str


def read_ahead(
    root: Location, files: Iterable[SourceFile], max_bytes: int
) -> Iterator[tuple[SourceFile, bytes | ReadFailure]]:
    """Yield the files' contents, in order.

    Args:
        root: the input folder.
        files: the files to read.
        max_bytes: at most this many bytes of a file are read, plus one to detect larger files.

    Raises:
        AwsError: a request to S3 failed for a reason other than a missing file.
    """
    threads = THREADS_S3 if root.scheme == "s3" else THREADS_LOCAL
    ahead: deque[tuple[SourceFile, Future[bytes | ReadFailure]]] = deque()
    waiting = 0
    with ThreadPoolExecutor(threads, "reader") as pool:
        for file in files:
            ahead.append((file, pool.submit(_read, root, file, max_bytes)))
            waiting += file.bytes
            while len(ahead) >= 2 * threads or (len(ahead) > 1 and waiting > BYTES_AHEAD):
                first, content = ahead.popleft()
                yield first, content.result()
                waiting -= first.bytes
        while ahead:
            first, content = ahead.popleft()
            yield first, content.result()


def _read(root: Location, file: SourceFile, max_bytes: int) -> bytes | ReadFailure:
    try:
        if root.scheme == "s3":
            return _read_s3(root, file, max_bytes)
        return _read_local(root, file, max_bytes)
    except FileNotFoundError:
        return ReadFailure(Reason.VANISHED, "the file was deleted after it was listed")
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ReadFailure(
                Reason.LINK, "the file was replaced by a symbolic link after it was listed"
            )
        cause = error.strerror or str(error)
        return ReadFailure(Reason.UNREADABLE, f"it cannot be read ({cause}): check its permissions")


def _read_local(root: Location, file: SourceFile, max_bytes: int) -> bytes | ReadFailure:
    # Do not follow links or block on pipes that may have replaced the file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    path = bytes_of(root.path) + b"/" + file.raw_path
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return ReadFailure(Reason.NOT_A_FILE, "the file was replaced by a pipe or device")
        return stream.read(max_bytes + 1)


def _read_s3(root: Location, file: SourceFile, max_bytes: int) -> bytes | ReadFailure:
    location = root / file.path

    def read() -> bytes:
        with location.filesystem.open_input_file(location.path) as stream:
            return bytes(stream.read(max_bytes + 1))

    try:
        with aws_errors(f"reading {location}"):
            return repeat(read)
    except AwsError as error:
        if error.code in {"NoSuchKey", "404"}:
            raise FileNotFoundError from error
        raise
    except (pa.ArrowInvalid, ValueError) as error:
        return ReadFailure(
            Reason.UNREADABLE, f"the S3 key cannot be read ({error}): rename the object"
        )
