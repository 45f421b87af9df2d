"""A resumable download. Unpacking: archive.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from requests import Response
from requests import exceptions as faults
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from spark_src.errors import DatasetError
from spark_src.io.locations import Location

CACHE = Path("~/.cache/fruits-features")
TRIES = 8
"""Maximum attempts to start or resume a download."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled each time up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0

_TIMEOUTS = (10, 60)  # seconds to connect, and between two chunks
_CHUNK = 1 << 16  # bytes; an interruption loses at most this
_BUSY = (408, 425, 429)
_BAD_URL = (faults.InvalidSchema, faults.InvalidURL, faults.MissingSchema)


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch."""

    images: int
    added: int
    """Number of files that were missing or had another size."""
    digest: str
    """Digest of the archive's files, for `--sha256` of the next fetch."""


def fetch(
    url: str,
    to: Location,
    *,
    sha256: str | None = None,
    cache: Path = CACHE,
    pause: float = PAUSE,
) -> Fetched:
    """Unpack the zip at `url` to `to`, skipping files that exist with the same size.

    Args:
        url: the URL of the zip.
        to: the target folder, which need not exist.
        sha256: the required digest of the archive's files.
        cache: the folder for the complete or partial archive.
        pause: seconds before the second attempt.

    Raises:
        DatasetError: the dataset is incomplete; the message says how to fix it.
        AwsError: the bucket cannot be listed or written.
    """
    from fruits_assets.dataset.archive import contents, is_picture, lay_out, sizes

    try:
        with _exclusive(cache.expanduser()) as folder:
            existing = sizes(to)  # fails on an invalid target before the long download
            cached = _Cached(url, folder)
            _download(url, cached, pause)
            try:
                found = contents(cached.file, url)
                _require_digest(found.digest, sha256)
            except DatasetError as error:
                cached.discard()
                raise DatasetError(
                    f"The download from {url} cannot be used: {error}. It was deleted, and {to} "
                    "was not changed. Run the same command again, or pass the --url of a zip of "
                    "pictures."
                ) from error
            files = found.files
            missing = {path: f for path, f in files.items() if existing.get(path) != f.file_size}
            lay_out(cached.file, missing, to)
    except OSError as error:
        raise DatasetError(
            f"{to} is not complete: {error}. Check disk space and permissions, then run the same "
            "command again."
        ) from error
    return Fetched(sum(map(is_picture, files)), len(missing), found.digest)


def _require_digest(digest: str, wanted: str | None) -> None:
    if wanted is not None and digest != wanted.lower():
        raise DatasetError(f"its files have the sha256 {digest}, not {wanted.lower()}")


@dataclass(frozen=True)
class _Known:
    """What the server reported about the cached archive."""

    etag: str = ""
    modified: str = ""
    length: int | None = None
    whole: bool = False

    @classmethod
    def from_headers(cls, response: Response) -> _Known:
        headers = response.headers
        length = headers.get("Content-Length", "")
        return cls(
            headers.get("ETag", ""),
            headers.get("Last-Modified", ""),
            int(length) if length.isdecimal() else None,
        )

    @property
    def validator(self) -> str:
        """The validator for range requests. A weak ETag does not guarantee identical bytes."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified

    def conditions(self, have: int) -> dict[str, str]:
        """Request headers for the missing part only."""
        if self.whole and self.etag:
            return {"If-None-Match": self.etag}
        if self.whole and self.modified:
            return {"If-Modified-Since": self.modified}
        if have and self.validator and not self.whole:
            return {"Range": f"bytes={have}-", "If-Range": self.validator}
        return {}

    def is_same(self, other: _Known) -> bool:
        """Whether both describe the same archive."""
        same = self.etag == other.etag and self.modified == other.modified
        return same and bool(self.etag or self.modified)


class _Cached:
    """The cached archive of one URL, with a JSON file of its metadata."""

    def __init__(self, url: str, cache: Path) -> None:
        self.file = cache / f"{hashlib.sha256(url.encode()).hexdigest()}.zip"
        self._state = self.file.with_suffix(".json")

    @property
    def size(self) -> int:
        """Number of cached bytes."""
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def known(self) -> _Known:
        """The archive's metadata; empty if lost or inconsistent with the file."""
        try:
            known = _Known(**json.loads(self._state.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return _Known()
        if not self.size or self.size > (known.length or self.size):
            return _Known()
        return known if known.length is None else replace(known, whole=self.size == known.length)

    def note(self, known: _Known) -> None:
        self._state.write_text(json.dumps(asdict(known)))

    def discard(self) -> None:
        self._state.unlink(missing_ok=True)  # first, because a file without metadata is not used
        self.file.unlink(missing_ok=True)


@contextmanager
def _exclusive(cache: Path) -> Iterator[Path]:
    """Lock the cache, because two fetches would write the same files."""
    cache.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cache / "lock").acquire(timeout=0)
    except Timeout as error:
        raise DatasetError(
            "Another `fruits fetch-dataset` is running: start this one when it has ended."
        ) from error
    with lock:
        yield cache


def _download(url: str, cached: _Cached, pause: float) -> None:
    """Download the archive to the cache, resuming a partial one."""
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    attempts = Retrying(
        retry=retry_if_exception_type(requests.RequestException),
        wait=wait_exponential(multiplier=pause, max=LONGEST_PAUSE),
        stop=stop_after_attempt(TRIES),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            attempts(_receive, url, cached, bar)
    except RetryError as error:
        cause = error.last_attempt.exception()
        length = cached.known.length
        total = "" if length is None else f" of {length:,}"
        raise DatasetError(
            f"The download of {url} failed {TRIES} times, with {cached.size:,}{total} bytes "
            f"received: {cause}. Run the same command again to resume it (from the start if the "
            "server does not support ranges)."
        ) from cause


def _receive(url: str, cached: _Cached, bar: Progress) -> None:
    """One attempt; received bytes stay in the cache."""
    known = cached.known
    headers = {"Accept-Encoding": "identity"} | known.conditions(cached.size)
    with _get(url, headers) as response:
        reported = _Known.from_headers(response)
        if known.whole and (response.status_code == 304 or known.is_same(reported)):
            return
        if response.status_code == 416 or not _continues(response, cached.size, known, reported):
            cached.discard()
            raise faults.ConnectionError("the archive on the server has changed")
        _require_content(url, response)
        if response.status_code == 200:
            known = reported
            cached.discard()
            cached.note(known)
        _append(response, cached, known.length, bar)
    if known.length is not None and cached.size != known.length:
        raise faults.ConnectionError("the size does not match Content-Length")
    cached.note(replace(known, whole=True))


def _get(url: str, headers: dict[str, str]) -> Response:
    try:
        return requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS)
    except _BAD_URL as error:
        raise DatasetError(f"--url {url} is not a valid URL: {error}.") from error


def _continues(response: Response, have: int, known: _Known, reported: _Known) -> bool:
    """Whether a partial response is the rest of this archive."""
    if response.status_code != 206:
        return True
    content_range, _, length = response.headers.get("Content-Range", "").partition("/")
    same_length = known.length is None or length in ("*", str(known.length))
    same_etag = not reported.etag or reported.etag == known.etag
    return content_range.startswith(f"bytes {have}-") and same_length and same_etag


def _require_content(url: str, response: Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"{status} {response.reason}"
    if status in _BUSY or status >= 500:
        raise faults.HTTPError(f"the server responded with {answer}")
    raise DatasetError(f"{url} responded with {answer}: correct --url.")


def _append(response: Response, cached: _Cached, length: int | None, bar: Progress) -> None:
    task = bar.add_task("downloading", total=length, completed=cached.size)
    try:
        with cached.file.open("ab") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    finally:
        bar.remove_task(task)
