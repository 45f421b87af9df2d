"""Files of tables are written atomically, and damage is detected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import PcaError, StorageError, UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile
from spark_src.tables.parquet import (
    discard,
    new_name,
    open_parquet,
    read_columns,
    run_tasks,
    write_file,
    write_whole,
)
from spark_src.tables.schemas import MOBILENET_FEATURES, RAW_IMAGES
from tests.small_tables import picture_rows

KILLED = """
import os, signal, sys
from spark_src.io.locations import Location
from spark_src.tables import parquet

parquet.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
parquet.write_whole(Location.parse(sys.argv[1]), b"new")
"""


@pytest.fixture(params=["on disk", pytest.param("in S3", marks=pytest.mark.integration)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "on disk":
        return Location.parse(str(tmp_path / "a b#[1]"))
    return Location.parse(f"s3://{request.getfixturevalue('bucket')}/a b#[1]")


@pytest.fixture
def disk(tmp_path: Path) -> Location:
    return Location.parse(str(tmp_path / "table"))


def write_pictures(folder: Location, *paths: str, name: str = "part-0.parquet") -> DataFile:
    return write_file([picture_rows(paths)], folder, name, RAW_IMAGES)


def features(rows: int) -> pa.Table:
    values = np.random.default_rng(3).random((rows, 8), np.float32)
    columns = {"path": [f"{row}.jpg" for row in range(rows)], "features": list(values)}
    empty = MOBILENET_FEATURES.empty_table().to_pydict()
    return pa.table(
        {name: columns.get(name, [None] * rows) for name in empty}, schema=MOBILENET_FEATURES
    )


def test_written_rows_can_be_read(folder: Location) -> None:
    file = write_pictures(folder, "a.jpg", "b.jpg")
    assert file == DataFile("part-0.parquet", len((folder / file.name).read()), 2)
    with open_parquet(folder / file.name, verify=True) as parquet:
        table = parquet.read()
    assert table.schema == RAW_IMAGES
    assert table.equals(picture_rows(["a.jpg", "b.jpg"]))


def test_tables_and_batches_become_the_rows_of_one_file(disk: Location) -> None:
    table = picture_rows(["a.jpg", "b.jpg"])
    batches = [table, *picture_rows(["c.jpg"]).to_batches(), RAW_IMAGES.empty_table()]
    assert write_file(batches, disk, "part-0.parquet", RAW_IMAGES).rows == 3
    assert read_columns([disk / "part-0.parquet"], ["path"])["path"].to_pylist() == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ]


def test_a_file_can_be_empty(disk: Location) -> None:
    assert write_file([], disk, "part-0.parquet", RAW_IMAGES).rows == 0
    assert read_columns([disk / "part-0.parquet"], ["path"]).num_rows == 0


def test_a_file_has_the_requested_row_group_size(disk: Location) -> None:
    table = features(100)
    file = write_file([table], disk, "part-0.parquet", MOBILENET_FEATURES, row_group_size=30)
    with open_parquet(disk / file.name) as parquet:
        groups = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    assert groups == [30, 30, 30, 10]


def test_pictures_are_stored_uncompressed_and_other_columns_compressed(disk: Location) -> None:
    table = picture_rows([f"{'a' * 2000}/{number}.jpg" for number in range(50)])
    write_file([table], disk, "part-0.parquet", RAW_IMAGES, incompressible=["content"])
    group = pq.ParquetFile((disk / "part-0.parquet").path).metadata.row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert columns["content"].compression == "UNCOMPRESSED"
    assert {column.compression for name, column in columns.items() if name != "content"} == {"LZ4"}
    assert table["content"][0].as_py() in (disk / "part-0.parquet").read()


def test_names_of_new_files_are_unique() -> None:
    names = {new_name(7) for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith("part-00007-") and name.endswith(".parquet") for name in names)


def test_a_partially_written_file_is_invisible_to_readers(disk: Location) -> None:
    def watched() -> Iterator[pa.Table]:
        yield picture_rows(["a.jpg"])
        assert disk.files() == []
        yield picture_rows(["b.jpg"])

    write_file(watched(), disk, "part-0.parquet", RAW_IMAGES)
    assert [file.base_name for file in disk.files()] == ["part-0.parquet"]


def test_a_failing_row_iterator_leaves_no_file(folder: Location) -> None:
    def failing() -> Iterator[pa.Table]:
        yield picture_rows(["a.jpg"])
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_file(failing(), folder, "part-0.parquet", RAW_IMAGES)
    assert folder.files() == []


def test_a_full_disk_leaves_no_file(disk: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    write_whole(disk / "file", b"old content")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"file cannot be written \(No space left"):
        write_whole(disk / "file", b"new content")
    assert [file.base_name for file in disk.files()] == ["file"]
    assert (disk / "file").read() == b"old content"


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(disk: Location) -> None:
    write_whole(disk / "file", b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, (disk / "file").path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (disk / "file").read() == b"old"
    left = {file.base_name for file in disk.files()} - {"file"}
    assert all(name.startswith(".file.") for name in left)


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_detected_when_pages_are_verified(disk: Location, position: float) -> None:
    file = write_file([features(100)], disk, "part-0.parquet", MOBILENET_FEATURES)
    path = Path((disk / file.name).path)
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[int(footer * position)] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableVersionError, match=r"part-0\.parquet cannot be read") as caught:
        read_verified(disk / file.name)
    assert "materialize" in str(caught.value)


def read_verified(file: Location) -> pa.Table:
    with open_parquet(file, verify=True) as parquet:
        return parquet.read()


@pytest.mark.parametrize("content", [b"", b"PAR1", bytes(1000), None])
def test_an_invalid_or_missing_file_is_named(disk: Location, content: bytes | None) -> None:
    file = write_pictures(disk, "a.jpg")
    if content is None:
        os.remove((disk / file.name).path)
    else:
        (disk / file.name).write(content)
    with pytest.raises(UnreadableVersionError, match=r"part-0\.parquet cannot be read"):
        read_columns([disk / file.name], ["path"])


def test_columns_of_many_files_include_file_and_row(disk: Location) -> None:
    files = [write_pictures(disk, f"{n}a", f"{n}b", name=f"part-{n}.parquet") for n in range(20)]
    table = read_columns([disk / file.name for file in files], ["path", "width"])
    assert table.column_names == ["path", "width", "file", "row"]
    found = zip(*(table[name].to_pylist() for name in ("path", "file", "row")), strict=True)
    assert list(found) == [(f"{n}{'ab'[row]}", n, row) for n in range(20) for row in range(2)]


def test_without_files_there_are_no_rows() -> None:
    assert read_columns([], ["path"]).num_rows == 0


def test_files_that_will_not_be_committed_can_be_discarded(folder: Location) -> None:
    one, two = (write_pictures(folder, "a.jpg", name=f"part-{n}.parquet") for n in range(2))
    discard(folder, [one, DataFile("never-written.parquet", 1, 1)])
    assert [file.base_name for file in folder.files()] == [two.name]


@pytest.mark.parametrize("tasks", [None, 3])
def test_work_is_distributed_and_every_result_returned(
    spark: SparkSession, tasks: int | None
) -> None:
    def double(numbers: Iterable[int]) -> Iterator[int]:
        for number in numbers:
            yield 2 * number

    assert sorted(run_tasks(spark, range(10), double, tasks)) == list(range(0, 20, 2))
    assert run_tasks(spark, [], double) == []


@pytest.mark.parametrize("error", [StorageError("damaged"), PcaError("too few")])
def test_project_errors_reach_the_driver_unwrapped(spark: SparkSession, error: Exception) -> None:
    def fail(numbers: Iterable[int]) -> Iterator[int]:
        yield from numbers
        raise error

    with pytest.raises(type(error), match=str(error)):
        run_tasks(spark, range(4), fail)
