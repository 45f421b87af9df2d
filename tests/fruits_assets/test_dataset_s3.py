"""An archive is refused, or unpacked completely to a bucket or a folder."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from botocore.awsrequest import AWSResponse

from fruits_assets.dataset.archive import contents, is_incomplete
from fruits_assets.dataset.download import fetch
from spark_src.errors import AwsError, DatasetError
from spark_src.io import aws
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION: Literal["eu-west-1"] = "eu-west-1"
MARKER = "data/fruits 360.incomplete.json"


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def put(files: dict[str, bytes], target: Location) -> None:
    for path, data in files.items():
        file = Path(target.path, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@pytest.fixture(scope="module")
def pictures(sample: Path) -> dict[str, bytes]:
    """Every fourth picture of the sample."""
    return dict(list(tree(sample).items())[::4])


@pytest.fixture
def archive(tmp_path: Path, pictures: dict[str, bytes]) -> Path:
    file = tmp_path / "shop" / "main.zip"
    file.parent.mkdir()
    file.write_bytes(zipped({f"top/{path}": data for path, data in pictures.items()}))
    return file


class Quiet(SimpleHTTPRequestHandler):
    """Python's file server, which sends Last-Modified but supports neither ETag nor ranges."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    handler = partial(Quiet, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return Location.parse(str(tmp_path / "data" / "fruits 360"))


@pytest.fixture
def bucket(aws_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """An empty bucket `fruits`, and the client that the upload uses."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_url)
    monkeypatch.setenv("NO_PROXY", "*")
    aws.reset_clients()
    s3: S3Client = aws.client("s3", REGION)
    s3.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield s3
    aws.reset_clients()  # the tests inject faults into this client
    empty = aws.client("s3", REGION)
    # Not moto's reset, because other tests share the process.
    for found in empty.list_objects_v2(Bucket="fruits").get("Contents", []):
        empty.delete_object(Bucket="fruits", Key=found["Key"])
    empty.delete_bucket(Bucket="fruits")
    aws.reset_clients()


PREFIX = Location.parse("s3://fruits/data/fruits 360")


def stored(s3: S3Client) -> dict[str, int]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="fruits")
    return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}


def body(s3: S3Client, path: str) -> bytes:
    return s3.get_object(Bucket="fruits", Key=f"data/fruits 360/{path}")["Body"].read()


def get(url: str, to: Location, tmp_path: Path) -> tuple[int, int]:
    """Fetch; return the number of pictures, and the number of files added."""
    fetched = fetch(url, to, cache=tmp_path / "cache", pause=0.001)
    return fetched.images, fetched.added


A_PICTURE = {"a.jpg": b"1"}
UNSAFE = "has an unsafe path"
REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zeros": (lambda archive: archive.replace(archive[9_000:9_020], bytes(20)), "not a valid zip"),
    "cut short": (lambda archive: archive[:-100], "not a valid zip"),
    "no zip": (lambda _: b"<html>Sign in</html>", "not a valid zip"),
    "absolute path": (lambda _: zipped(A_PICTURE | {"/etc/b.jpg": b"2"}), UNSAFE),
    "path upwards": (lambda _: zipped(A_PICTURE | {"a/../../b.jpg": b"2"}), UNSAFE),
    "Windows path": (lambda _: zipped(A_PICTURE | {"..\\b.jpg": b"2"}), UNSAFE),
    "drive": (lambda _: zipped(A_PICTURE | {"C:\\b.jpg": b"2"}), UNSAFE),
    "no picture": (lambda _: zipped({"README.md": b"jpg"}), "none of its 1 members"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_an_archive_that_is_broken_or_unsafe_is_refused(how: str, archive: Path) -> None:
    broken, message = REFUSED[how]
    archive.write_bytes(broken(archive.read_bytes()))
    with pytest.raises(DatasetError, match=message):
        contents(archive)


ARRANGED = {
    "top/a.jpg top/b/c.png": "a.jpg b/c.png",
    "top/b/c.jpg top/d/e.jpg": "b/c.jpg d/e.jpg",
    "Training/Apple/a.jpg": "Training/Apple/a.jpg",
    "Training/Apple/a.jpg Test/Apple/b.JPG": "Training/Apple/a.jpg Test/Apple/b.JPG",
    "x/y/Training/A/a.jpg x/y/Test/A/b.jpg x/z.jpg": "Training/A/a.jpg Test/A/b.jpg",
    "x/Training/A/a.jpg x/Test/A/b.jpg x/src/d/e.py x/b.jpg": "Training/A/a.jpg Test/A/b.jpg",
    "t/a.jpg __MACOSX/t/._a.jpg": "a.jpg",
}


@pytest.mark.parametrize("members", ARRANGED)
def test_the_tree_is_split_and_label_or_unchanged(members: str, archive: Path) -> None:
    archive.write_bytes(zipped(dict.fromkeys(members.split(), b"1")))
    assert sorted(contents(archive).files) == sorted(ARRANGED[members].split())


def test_files_of_the_same_size_are_kept_and_the_rest_is_added(
    url: str, folder: Location, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    same, shorter, *_ = pictures
    there = {same: bytes(len(pictures[same])), shorter: b"short", "Test/own.jpg": b"own"}
    put(there, folder)
    assert get(url, folder, tmp_path) == (60, 59)
    assert tree(Path(folder.path)) == there | {p: d for p, d in pictures.items() if p != same}
    assert not is_incomplete(folder)


def test_a_new_folder_is_written_completely_or_not_at_all(
    url: str, folder: Location, tmp_path: Path, archive: Path
) -> None:
    archive.write_bytes(zipped({"a/b.jpg": b"1", "c/d.jpg": b"2", "c": b"a file and a folder"}))
    with pytest.raises(DatasetError, match="is not complete"):
        get(url, folder, tmp_path)
    assert list(Path(folder.path).parent.iterdir()) == []
    assert not is_incomplete(folder)


def test_a_partially_updated_folder_is_marked_until_it_is_complete(
    url: str, folder: Location, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    in_the_way = str(Path(list(pictures)[-1]).parent)
    put({in_the_way: b"a file where a folder must be"}, folder)
    with pytest.raises(DatasetError, match="is not complete"):
        get(url, folder, tmp_path)
    assert is_incomplete(folder)
    Path(folder.path, in_the_way).unlink()
    get(url, folder, tmp_path)
    assert tree(Path(folder.path)) == pictures
    assert not is_incomplete(folder)


def test_every_picture_is_uploaded_unchanged(
    bucket: S3Client, url: str, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    assert get(url, PREFIX, tmp_path) == (60, 60)
    assert stored(bucket) == {f"data/fruits 360/{p}": len(data) for p, data in pictures.items()}
    assert all(body(bucket, path) == data for path, data in list(pictures.items())[::10])
    assert not is_incomplete(PREFIX)


def test_objects_of_the_same_size_are_kept(
    bucket: S3Client, url: str, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    def in_short_pages(params: dict[str, Any], **_: object) -> None:
        params["MaxKeys"] = 25

    for path, data in pictures.items():
        bucket.put_object(Bucket="fruits", Key=f"data/fruits 360/{path}", Body=bytes(len(data)))
    shorter, *_ = pictures
    bucket.put_object(Bucket="fruits", Key=f"data/fruits 360/{shorter}", Body=b"short")
    bucket.meta.events.register("provide-client-params.s3.ListObjectsV2", in_short_pages)
    assert get(url, PREFIX, tmp_path) == (60, 1)
    assert body(bucket, shorter) == pictures[shorter]
    assert not any(body(bucket, list(pictures)[-1]))
    assert get(url, PREFIX, tmp_path) == (60, 0)


class Denied(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield b""


def test_a_partial_upload_is_marked_and_resumed(bucket: S3Client, url: str, tmp_path: Path) -> None:
    puts = iter(range(1000))

    def deny_later(request: Any, **_: object) -> Any:
        headers: Any = {}
        return AWSResponse(request.url, 403, headers, Denied()) if next(puts) > 20 else None

    bucket.meta.events.register("before-send.s3.PutObject", deny_later, unique_id="deny")
    with pytest.raises(DatasetError) as caught:
        get(url, PREFIX, tmp_path)
    bucket.meta.events.unregister("before-send.s3.PutObject", unique_id="deny")
    assert f"20 of 60 missing files were uploaded to {PREFIX}, then: " in str(caught.value)
    assert "Access is denied" in str(caught.value)
    assert len(set(stored(bucket)) - {MARKER}) == 20
    assert is_incomplete(PREFIX)
    assert get(url, PREFIX, tmp_path) == (60, 40)
    assert len(stored(bucket)) == 60
    assert not is_incomplete(PREFIX)


def test_the_marker_exists_during_the_whole_upload(
    bucket: S3Client, url: str, tmp_path: Path
) -> None:
    calls: list[str] = []

    def note(request: Any, **_: object) -> None:
        calls.append(f"{request.method} {request.url.split('/fruits/')[1]}")

    bucket.meta.events.register("before-send.s3.PutObject", note)
    bucket.meta.events.register("before-send.s3.DeleteObject", note)
    get(url, PREFIX, tmp_path)
    marker = MARKER.replace(" ", "%20")
    assert (calls[0], calls[-1]) == (f"PUT {marker}", f"DELETE {marker}")
    assert len(calls) == 62


def test_a_marker_that_outlived_its_upload_is_removed(
    bucket: S3Client, url: str, tmp_path: Path
) -> None:
    get(url, PREFIX, tmp_path)
    bucket.put_object(Bucket="fruits", Key=MARKER, Body=b"{}")
    assert is_incomplete(PREFIX)
    assert get(url, PREFIX, tmp_path) == (60, 0)
    assert not is_incomplete(PREFIX)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("s3://fruits", "pass a folder in it: s3://fruits/fruits-360"),
        ("s3://oranges/data", "listing s3://oranges/data failed: NoSuchBucket"),
    ],
)
def test_an_unusable_bucket_is_reported_before_the_download(
    to: str, said: str, url: str, tmp_path: Path
) -> None:
    with pytest.raises((AwsError, DatasetError), match=said):
        get(url, Location.parse(to), tmp_path)
    assert not list((tmp_path / "cache").glob("*.zip"))
