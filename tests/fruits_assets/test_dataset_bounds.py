"""An untrusted archive cannot fill the disk, and has to be the requested one."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from fruits_assets.cli.fetch_dataset import COMMIT, FRUITS_360
from fruits_assets.dataset import bounds
from fruits_assets.dataset.archive import contents
from fruits_assets.dataset.download import fetch
from spark_src.errors import DatasetError
from spark_src.io.locations import Location


def write(file: Path, files: dict[str, bytes], comment: bytes = b"") -> Path:
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, content in files.items():
            archive.writestr(name, content)
    return file


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write(tmp_path / "a.zip", {"a/1.jpg": b"one", "a/2.jpg": b"two"})


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[str]:
    """The URL of a server for the test's folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_zip_bomb_is_refused_before_unpacking(tmp_path: Path) -> None:
    bomb = write(tmp_path / "bomb.zip", {"a/1.jpg": bytes(50_000_000)})
    with pytest.raises(DatasetError, match="times as large, more than 100 times"):
        contents(bomb)


@pytest.mark.parametrize(
    ("name", "bound", "message"),
    [
        ("MAX_FILES", 1, "it has 2 files, more than 1"),
        ("MAX_FILE_BYTES", 2, "a file in it has 3 bytes"),
        ("MAX_BYTES", 5, "unpacked it has 6 bytes"),
    ],
)
def test_too_many_and_too_large_files_are_refused(
    archive: Path, name: str, bound: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, name, bound)
    with pytest.raises(DatasetError, match=message):
        contents(archive)


def test_overlapping_files_are_refused(tmp_path: Path, archive: Path) -> None:
    with ZipFile(archive) as opened:
        first, second = opened.infolist()
    content = bytearray(archive.read_bytes())
    place = content.rindex(b"PK\1\2") + 42  # of the second entry's offset in the central directory
    assert int.from_bytes(content[place : place + 4], "little") == second.header_offset
    content[place : place + 4] = first.header_offset.to_bytes(4, "little")
    (tmp_path / "shared.zip").write_bytes(content)
    with pytest.raises(DatasetError, match="two of its files overlap"):
        contents(tmp_path / "shared.zip")


def test_a_member_larger_than_its_declared_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.zip", {"a/1.jpg": b"x" * 1000}).read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "lies.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"not a valid zip|does not have its declared size"):
        contents(tmp_path / "lies.zip")


def test_the_default_is_a_commit_and_an_archive_of_another_is_refused(tmp_path: Path) -> None:
    assert FRUITS_360.endswith(f"/archive/{COMMIT}.zip")
    assert len(COMMIT) == 40
    files = {"a/1.jpg": b"one"}
    mine = write(tmp_path / "a.zip", files, COMMIT.encode())
    assert contents(mine, FRUITS_360).files
    for comment in (b"", b"0" * 40):
        with pytest.raises(DatasetError, match="not the archive of the commit"):
            contents(write(tmp_path / "b.zip", files, comment), FRUITS_360)
        assert contents(tmp_path / "b.zip", "https://example.org/archive/main.zip").files


def test_the_digest_does_not_depend_on_the_packing(tmp_path: Path, archive: Path) -> None:
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
        for name, content in (("1.jpg", b"one"), ("2.jpg", b"two"))
    ]
    found = contents(archive)
    assert sorted(found.files) == ["1.jpg", "2.jpg"]
    assert found.digest == hashlib.sha256(b"".join(lines)).hexdigest()
    content = io.BytesIO()
    with ZipFile(content, "w", zipfile.ZIP_STORED) as again:
        again.writestr("top/2.jpg", b"two")
        again.writestr("top/1.jpg", b"one")
    (tmp_path / "again.zip").write_bytes(content.getvalue())
    assert contents(tmp_path / "again.zip").digest == found.digest
    changed = write(tmp_path / "changed.zip", {"a/1.jpg": b"one", "a/2.jpg": b"six"})
    assert contents(changed).digest != found.digest


def test_a_fetch_with_another_digest_does_not_change_the_target(
    archive: Path, tmp_path: Path, serve: str
) -> None:
    target, cache = Location.parse(str(tmp_path / "target")), tmp_path / "cache"
    url = f"{serve}/{archive.name}"
    with pytest.raises(DatasetError, match="its files have the sha256"):
        fetch(url, target, sha256="0" * 64, cache=cache, pause=0)
    assert not target.exists()
    digest = contents(archive).digest
    assert fetch(url, target, sha256=digest.upper(), cache=cache, pause=0).digest == digest
    assert (tmp_path / "target" / "1.jpg").read_bytes() == b"one"
