"""Files are read ahead in order. An unreadable file gives a reason."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spark_src.errors import AwsError
from spark_src.images import reader
from spark_src.images.reader import ReadFailure, SourceFile, read_ahead
from spark_src.images.rejection import Reason
from spark_src.io.aws import client, reset_clients
from spark_src.io.locations import Location
from tests.emr.faulty_s3 import Fault, FaultyS3
from tests.unprivileged import unprivileged


def source_file(name: str | bytes, size: int = 1) -> SourceFile:
    raw = name if isinstance(name, bytes) else name.encode()
    return SourceFile(raw.decode("utf-8", "backslashreplace"), raw, size)


def read(folder: Path | Location, *names: str | bytes) -> list[bytes | ReadFailure]:
    """Read the files, and fail if a read hangs."""
    root = folder if isinstance(folder, Location) else Location.parse(str(folder))
    files = [source_file(name) for name in names]
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(lambda: list(read_ahead(root, files, 1000))).result(timeout=30)
    assert [file for file, _ in found] == files
    return [content for _, content in found]


def reason_of(content: bytes | ReadFailure) -> Reason:
    assert isinstance(content, ReadFailure), content
    assert content.detail
    return content.reason


def test_many_files_are_read_in_order(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(300)]
    for name in names:
        (tmp_path / name).write_text(name)
    wanted = sorted(names, reverse=True)
    assert read(tmp_path, *wanted) == [name.encode() for name in wanted]


def test_a_large_file_is_only_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(bytes(5000))
    assert read(tmp_path, "1.jpg") == [bytes(1001)]


def test_names_of_any_bytes_can_be_read(tmp_path: Path) -> None:
    names = [b"caf\xe9", b"two\nlines", rb"back\slash", "Äpfel".encode(), b"\xff"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    assert read(tmp_path, *names) == names


def test_a_file_deleted_before_it_is_read_has_vanished(tmp_path: Path) -> None:
    (tmp_path / "2.jpg").write_bytes(b"x")
    first, second = read(tmp_path, "1.jpg", "2.jpg")
    assert reason_of(first) == Reason.VANISHED
    assert second == b"x"


def test_a_file_whose_folder_was_deleted_has_vanished(tmp_path: Path) -> None:
    assert reason_of(read(tmp_path, "gone/1.jpg")[0]) == Reason.VANISHED


def test_a_file_that_may_not_be_read_is_unreadable_and_the_next_one_is_read(
    public_folder: Path,
) -> None:
    for name, mode in (("1.jpg", 0o000), ("2.jpg", 0o644)):
        (public_folder / name).write_bytes(b"x")
        (public_folder / name).chmod(mode)
    with unprivileged():
        first, second = read(public_folder, "1.jpg", "2.jpg")
    assert reason_of(first) == Reason.UNREADABLE
    assert isinstance(first, ReadFailure) and "Permission denied" in first.detail
    assert second == b"x"


def test_a_link_that_replaced_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "1.jpg").symlink_to(tmp_path / "secret")
    assert reason_of(read(tmp_path, "1.jpg")[0]) == Reason.LINK


@pytest.mark.parametrize("is_written", [False, True])
def test_a_pipe_that_replaced_a_file_does_not_block(tmp_path: Path, is_written: bool) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    writer = os.open(tmp_path / "1.jpg", os.O_RDWR) if is_written else None
    started = time.monotonic()
    assert reason_of(read(tmp_path, "1.jpg")[0]) == Reason.NOT_A_FILE
    assert time.monotonic() - started < 10
    if writer is not None:
        os.close(writer)


def test_a_folder_that_replaced_a_file_is_unreadable_and_not_opened(
    tmp_path: Path,
) -> None:
    (tmp_path / "1.jpg").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    assert reason_of(read(tmp_path, "1.jpg")[0]) == Reason.UNREADABLE
    assert len(os.listdir("/proc/self/fd")) == before


def counted(files: Iterable[SourceFile], taken: list[str]) -> Iterator[SourceFile]:
    for file in files:
        taken.append(file.path)
        yield file


@pytest.mark.parametrize(("size", "ahead"), [(1, 2 * reader.THREADS_LOCAL), (2**40, 2)])
def test_files_read_ahead_are_limited_by_number_and_bytes(
    tmp_path: Path, size: int, ahead: int
) -> None:
    names = [f"{number}.jpg" for number in range(50)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    taken: list[str] = []
    files = counted((source_file(name, size) for name in names), taken)
    contents = read_ahead(Location.parse(str(tmp_path)), files, 10)
    next(contents)
    assert len(taken) == ahead
    assert sum(1 for _ in contents) == 49


def test_objects_are_read_from_s3_in_order(bucket: str) -> None:
    names = ["A/1.jpg", "B/with space é%20#.jpg", "_C/.2.jpg", "A/3.jpg"]
    for name in names:
        client("s3").put_object(Bucket=bucket, Key=f"input/{name}", Body=name.encode())
    assert read(Location.parse(f"s3://{bucket}/input"), *names) == [n.encode() for n in names]


def test_an_object_deleted_before_it_is_read_has_vanished(bucket: str) -> None:
    client("s3").put_object(Bucket=bucket, Key="input/2.jpg", Body=b"x")
    first, second = read(Location.parse(f"s3://{bucket}/input"), "1.jpg", "2.jpg")
    assert reason_of(first) == Reason.VANISHED
    assert second == b"x"


def test_an_object_whose_key_cannot_be_read_is_unreadable_and_the_next_one_is_read(
    bucket: str,
) -> None:
    for name in ("A//1.jpg", "2.jpg"):
        client("s3").put_object(Bucket=bucket, Key=f"input/{name}", Body=b"x")
    first, second = read(Location.parse(f"s3://{bucket}/input"), "A//1.jpg", "2.jpg")
    assert reason_of(first) == Reason.UNREADABLE
    assert second == b"x"


def test_other_s3_errors_end_the_run_with_the_cause(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client("s3").put_object(Bucket=bucket, Key="input/1.jpg", Body=b"x")
    with FaultyS3(lambda *_: Fault.DENIED).open() as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
        reset_clients()
        with pytest.raises(AwsError, match="needs this action on this prefix"):
            read(Location.parse(f"s3://{bucket}/input"), "1.jpg")
