"""A download that resumes where it broke off. How an archive is laid out: archive.py."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import requests
from requests import Response
from requests import exceptions as faults
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from spark_src.errors import DatasetError
from spark_src.io.locations import Location

CACHE = Path("~/.cache/fruits-features")
TRIES = 8
"""How often a download is begun or gone on with before it is given up."""
PAUSE = 1.0
"""Seconds before the second try; each further pause is twice as long, but `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0

_TIMEOUTS = (10, 60)  # seconds to connect, and between two pieces
_PIECE = 1 << 16  # bytes; a cut costs at most this
_BUSY = (408, 425, 429)
_BAD_URL = (faults.InvalidSchema, faults.InvalidURL, faults.MissingSchema)


@dataclass(frozen=True)
class Fetched:
    """What is in the target now."""

    images: int
    added: int
    """How many files were not there before, or had another size."""
    digest: str
    """Of what the archive has: `--sha256` holds the next fetch against it."""


def fetch(
    url: str,
    to: Location,
    *,
    sha256: str | None = None,
    cache: Path = CACHE,
    pause: float = PAUSE,
) -> Fetched:
    """Bring every file of the zip at `url` to `to`, unless it is there with the same size.

    Args:
        url: where the zip is.
        to: the folder, which need not exist.
        sha256: the digest that the files of the archive have to have.
        cache: the folder that keeps the archive, whole or as far as it came.
        pause: seconds before the second try.

    Raises:
        DatasetError: the data set is not there whole; the message says how to go on.
        AwsError: the bucket cannot be listed or written.
    """
    from fruits_assets.dataset.archive import contents, is_picture, lay_out, sizes

    try:
        with _alone(cache.expanduser()) as folder:
            there = sizes(to)  # before the long download, which an unusable target would waste
            cached = _Cached(url, folder)
            _download(url, cached, pause)
            try:
                found = contents(cached.file, url)
                _require_digest(found.digest, sha256)
            except DatasetError as error:
                cached.discard()
                raise DatasetError(
                    f"What {url} gave cannot be used: {error}. It was deleted, and {to} is as it "
                    "was. Start the same command again, or give the --url of a zip of pictures."
                ) from error
            files = found.files
            missing = {path: f for path, f in files.items() if there.get(path) != f.file_size}
            lay_out(cached.file, missing, to)
    except OSError as error:
        raise DatasetError(
            f"{to} is not complete: {error}. Fix that (space on the disk? rights?), then start "
            "the same command again."
        ) from error
    return Fetched(sum(map(is_picture, files)), len(missing), found.digest)


def _require_digest(digest: str, wanted: str | None) -> None:
    if wanted is not None and digest != wanted.lower():
        raise DatasetError(f"its files have the sha256 {digest}, not {wanted.lower()}")


@dataclass(frozen=True)
class _Known:
    """What the server said of the archive whose first bytes are in the cache."""

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
        """What makes a range safe. A weak ETag does not say that the bytes are the same."""
        return self.modified if self.etag.startswith("W/") else self.etag or self.modified

    def conditions(self, have: int) -> dict[str, str]:
        """The headers that ask only for what is not there yet."""
        if self.whole and self.etag:
            return {"If-None-Match": self.etag}
        if self.whole and self.modified:
            return {"If-Modified-Since": self.modified}
        if have and self.validator and not self.whole:
            return {"Range": f"bytes={have}-", "If-Range": self.validator}
        return {}

    def is_same(self, other: _Known) -> bool:
        """Whether both are said of the same archive."""
        same = self.etag == other.etag and self.modified == other.modified
        return same and bool(self.etag or self.modified)


class _Cached:
    """The archive of one URL in the cache, and beside it what is known of it."""

    def __init__(self, url: str, cache: Path) -> None:
        self.file = cache / f"{hashlib.sha256(url.encode()).hexdigest()}.zip"
        self._state = self.file.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def known(self) -> _Known:
        """Nothing, where that was lost or does not fit the file."""
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
        self._state.unlink(missing_ok=True)  # first: a file of which nothing is known is not used
        self.file.unlink(missing_ok=True)


@contextmanager
def _alone(cache: Path) -> Iterator[Path]:
    """Two fetches would write the same files."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatasetError(
                "Another `fruits fetch-dataset` is at work: start this one when it has ended."
            ) from error
        yield cache


def _download(url: str, cached: _Cached, pause: float) -> None:
    """Have the whole archive in the cache, going on from what is there."""
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(pause * 2 ** (attempt - 1), LONGEST_PAUSE))
            try:
                return _receive(url, cached, bar)
            except _BAD_URL as error:
                raise DatasetError(f"--url {url} is no address to fetch from: {error}.") from error
            except requests.RequestException as error:
                cause = error
    length = cached.known.length
    of_all = "" if length is None else f" of {length:,}"
    raise DatasetError(
        f"{url} broke off {TRIES} times, at last with {cached.size:,}{of_all} bytes received: "
        f"{cause}. Start the same command again: it goes on from there, or from the beginning "
        "where the server offers no ranges."
    ) from cause


def _receive(url: str, cached: _Cached, bar: Progress) -> None:
    """One try; whatever came of it stays in the cache."""
    known = cached.known
    headers = {"Accept-Encoding": "identity"} | known.conditions(cached.size)
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
        said = _Known.from_headers(response)
        if known.whole and (response.status_code == 304 or known.is_same(said)):
            return
        if response.status_code == 416 or not _goes_on(response, cached.size, known, said):
            cached.discard()
            raise faults.ConnectionError("the archive there is another one now")
        _require_content(url, response)
        if response.status_code == 200:
            known = said
            cached.discard()
            cached.note(known)
        _append(response, cached, known.length, bar)
    if known.length is not None and cached.size != known.length:
        raise faults.ConnectionError("the server sent too little or too much")
    cached.note(replace(known, whole=True))


def _goes_on(response: Response, have: int, known: _Known, said: _Known) -> bool:
    """Whether a partial answer is the rest of this very archive."""
    if response.status_code != 206:
        return True
    place, _, length = response.headers.get("Content-Range", "").partition("/")
    same_length = known.length is None or length in ("*", str(known.length))
    same_etag = not said.etag or said.etag == known.etag
    return place.startswith(f"bytes {have}-") and same_length and same_etag


def _require_content(url: str, response: Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"{status} {response.reason}"
    if status in _BUSY or status >= 500:
        raise faults.HTTPError(f"the server answers {answer}")
    raise DatasetError(f"{url} answers {answer}: correct --url.")


def _append(response: Response, cached: _Cached, length: int | None, bar: Progress) -> None:
    task = bar.add_task("downloading", total=length, completed=cached.size)
    try:
        with cached.file.open("ab") as file:
            for piece in response.iter_content(_PIECE):
                file.write(piece)
                bar.advance(task, len(piece))
    finally:
        bar.remove_task(task)
