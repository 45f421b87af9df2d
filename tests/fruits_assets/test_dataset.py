"""Fetching Fruits-360 to a folder from an unreliable server."""

from __future__ import annotations

import fcntl
import io
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fruits_assets.cli.fetch_dataset import fetch_dataset
from fruits_assets.dataset.archive import is_incomplete
from fruits_assets.dataset.download import TRIES, fetch
from spark_src.errors import DatasetError
from spark_src.io.locations import Location

CUT = 400_000
"""Bytes after which the server closes the connection."""


class ArchiveServer(ThreadingHTTPServer):
    """Serves one archive; its attributes configure faults."""

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.archive = archive
        self.etag = '"first"'
        self.ranges = True
        self.honest = True  # whether If-Range is respected
        self.cuts = 0
        self.refusals: list[int] = []
        self.asked: list[dict[str, str]] = []
        self.sent = 0
        self.on_cut: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/main.zip"


class Answer(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        shop = self.server
        shop.asked.append(dict(self.headers))
        if shop.refusals:
            return self.send_error(shop.refusals.pop(0))
        if shop.etag and self.headers["If-None-Match"] == shop.etag:
            self.send_response(304)
            return self.end_headers()
        start = self.start()
        body = shop.archive[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(shop.archive) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        if shop.etag:
            self.send_header("ETag", shop.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if shop.cuts:
            shop.cuts -= 1
            body = body[:CUT]
            shop.on_cut()
        shop.sent += len(body)
        self.wfile.write(body)

    def start(self) -> int:
        asked = self.headers["Range"]
        same = self.headers["If-Range"] == self.server.etag or not self.server.honest
        return int(asked[len("bytes=") : -1]) if asked and same and self.server.ranges else 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def pictures(sample: Path) -> dict[str, bytes]:
    return tree(sample)


@pytest.fixture(scope="module")
def archive(pictures: dict[str, bytes]) -> bytes:
    """An archive like GitHub's: one top-level folder, including other files of the repository."""
    top = "fruits-360-100x100-main"
    others = {"README.md": b"# Fruits", "LICENSE": b"CC", "papers/2018/one.pdf": b"%PDF"}
    return zipped({f"{top}/{path}": data for path, data in (others | pictures).items()})


@pytest.fixture
def shop(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = ArchiveServer(archive)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def target(tmp_path: Path) -> Location:
    return Location.parse(str(tmp_path / "data" / "fruits 360"))


def get(shop: ArchiveServer, target: Location, cache: Path) -> tuple[int, int]:
    """Fetch; return the number of pictures, and how many were added."""
    fetched = fetch(shop.url, target, cache=cache, pause=0.001)
    return fetched.images, fetched.added


def refusal(shop: ArchiveServer, target: Location, cache: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        get(shop, target, cache)
    return str(caught.value)


def kept(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir() if path.suffix)


def test_exactly_the_pictures_are_unpacked_unchanged(
    shop: ArchiveServer, target: Location, cache: Path, pictures: dict[str, bytes]
) -> None:
    assert get(shop, target, cache) == (240, 240)
    assert tree(Path(target.path)) == pictures
    assert [path.name for path in Path(target.path).parent.iterdir()] == ["fruits 360"]
    assert not is_incomplete(target)


def test_an_interrupted_download_is_resumed(
    shop: ArchiveServer, target: Location, cache: Path, pictures: dict[str, bytes]
) -> None:
    shop.cuts, shop.refusals = 2, [429, 500]
    get(shop, target, cache)
    starts = [int(asked.get("Range", "bytes=0-")[6:-1]) for asked in shop.asked]
    assert tree(Path(target.path)) == pictures
    assert len(starts) == 5
    assert 0 < starts[3] < starts[4]
    assert [asked.get("If-Range") for asked in shop.asked[3:]] == ['"first"', '"first"']
    assert shop.sent < len(shop.archive) + CUT


@pytest.mark.parametrize("etag", ['"first"', 'W/"weak"', ""], ids=["ETag", "weak ETag", "no ETag"])
def test_a_download_that_cannot_be_resumed_starts_over(
    etag: str, shop: ArchiveServer, target: Location, cache: Path, pictures: dict[str, bytes]
) -> None:
    shop.etag, shop.ranges, shop.cuts = etag, not etag.startswith('"'), 2
    get(shop, target, cache)
    assert tree(Path(target.path)) == pictures
    assert shop.sent == len(shop.archive) + 2 * CUT


@pytest.mark.parametrize("honest", [True, False], ids=["heeded", "ignored"])
def test_an_archive_that_changed_during_the_download_is_downloaded_again(
    honest: bool, shop: ArchiveServer, target: Location, cache: Path, pictures: dict[str, bytes]
) -> None:
    changed = {path: data[::-1] for path, data in pictures.items()}

    def change() -> None:
        shop.archive, shop.etag = zipped({f"other/{p}": d for p, d in changed.items()}), '"2"'

    shop.cuts, shop.honest, shop.on_cut = 1, honest, change
    first = shop.archive
    get(shop, target, cache)
    assert shop.archive != first
    assert tree(Path(target.path)) == changed


def test_after_the_last_attempt_the_same_command_resumes_later(
    shop: ArchiveServer, target: Location, cache: Path, pictures: dict[str, bytes]
) -> None:
    shop.cuts = 1
    shop.on_cut = lambda: shop.refusals.extend([503] * (TRIES - 1))
    text = refusal(shop, target, cache)
    (file,) = cache.glob("*.zip")
    received = file.stat().st_size
    assert 0 < received <= CUT
    assert len(shop.asked) == TRIES
    assert (
        f"{received:,} of {len(shop.archive):,} bytes received: the server responded with 503"
        in text
    )
    assert not Path(target.path).exists()
    get(shop, target, cache)
    assert shop.asked[-1]["Range"] == f"bytes={received}-"
    assert tree(Path(target.path)) == pictures


def test_a_wrong_url_is_reported_immediately(
    shop: ArchiveServer, target: Location, cache: Path
) -> None:
    shop.refusals = [404]
    assert (
        refusal(shop, target, cache) == f"{shop.url} responded with 404 Not Found: correct --url."
    )
    assert len(shop.asked) == 1


@pytest.mark.parametrize("url", ["fruits.zip", "ftp://127.0.0.1/fruits.zip", "http://"])
def test_an_invalid_url_is_reported_immediately(url: str, target: Location, cache: Path) -> None:
    with pytest.raises(DatasetError, match="is not a valid URL"):
        fetch(url, target, cache=cache, pause=60)


def test_an_unreachable_server_is_reported(
    target: Location, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}/main.zip"
    with pytest.raises(DatasetError, match=r"0 bytes received: .*Connection refused"):
        fetch(url, target, cache=cache, pause=0.001)


def test_a_broken_archive_is_deleted_before_the_target_is_touched(
    shop: ArchiveServer, target: Location, cache: Path, archive: bytes
) -> None:
    own = Path(target.path, "Test", "own.jpg")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"own")
    shop.archive = archive.replace(archive[500_000:500_050], bytes(50))
    text = refusal(shop, target, cache)
    assert (
        f"The download from {shop.url} cannot be used: it is not a valid zip (Bad CRC-32 for file "
        in text
    )
    assert "It was deleted" in text
    assert kept(cache) == []
    assert tree(Path(target.path).parent) == {"fruits 360/Test/own.jpg": b"own"}
    shop.archive = archive
    assert get(shop, target, cache) == (240, 240)


def test_nothing_is_downloaded_again_if_all_files_exist(
    shop: ArchiveServer, target: Location, cache: Path
) -> None:
    get(shop, target, cache)
    sent = shop.sent
    before = {path: path.stat().st_mtime_ns for path in Path(target.path).rglob("*")}
    assert get(shop, target, cache) == (240, 0)
    assert shop.sent == sent
    assert {path: path.stat().st_mtime_ns for path in Path(target.path).rglob("*")} == before


def test_a_newer_archive_replaces_a_cached_one(
    shop: ArchiveServer, target: Location, cache: Path
) -> None:
    get(shop, target, cache)
    shop.archive, shop.etag = zipped({"Training/A/a.jpg": b"a", "Test/A/b.jpg": b"b"}), '"newer"'
    assert get(shop, target, cache) == (2, 2)
    assert len(tree(Path(target.path))) == 242


def test_a_target_that_is_a_file_is_refused_before_the_download(
    shop: ArchiveServer, tmp_path: Path, cache: Path
) -> None:
    file = tmp_path / "fruits.zip"
    file.write_bytes(b"own")
    assert "is a file; pass a folder as --to" in refusal(shop, Location.parse(str(file)), cache)
    assert shop.asked == []


def test_concurrent_fetches_are_refused(shop: ArchiveServer, target: Location, cache: Path) -> None:
    cache.mkdir()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another `fruits fetch-dataset` is running" in refusal(shop, target, cache)
    assert shop.asked == []
    assert get(shop, target, cache) == (240, 240)


def test_the_command_prints_the_result_and_the_next_command(
    shop: ArchiveServer, target: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = typer.Typer()
    app.command()(fetch_dataset)
    arguments = ["--url", shop.url, "--to", str(target)]
    first, second = (CliRunner().invoke(app, arguments) for _ in range(2))
    use = f"next    FRUITS_INPUT='{target}' uv run fruits run\n"
    digest = r"sha256 of the files: [0-9a-f]{64}\n"
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    added = f"fetched: 240 images, 240 files added\n{digest}{re.escape(use)}"
    assert re.fullmatch(added, first.stdout)
    assert re.fullmatch(f"already there: 240 images\n{digest}{re.escape(use)}", second.stdout)
    assert kept(tmp_path / ".cache" / "fruits-features") == [".json", ".zip"]
