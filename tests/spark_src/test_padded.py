"""Short reads from S3 are retried like long ones, and return the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from spark_src.errors import AwsError
from spark_src.io.aws import reset_clients
from spark_src.io.locations import Location
from spark_src.io.padded import MIN_READ_BYTES, PaddedFile
from spark_src.tables.csv import count_rows
from spark_src.tables.parquet import open_parquet, write_file
from tests.emr.faulty_s3 import Fault, FaultyS3

SCHEMA = pa.schema([("name", pa.string()), ("content", pa.binary()), ("orientation", pa.int32())])
ROWS = 2_000


@pytest.fixture
def s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:  # noqa: ARG001
    """An S3 server for this process, without faults at first."""
    with FaultyS3(lambda *_: None).open() as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        reset_clients()
        yield s3


@pytest.fixture
def folder(bucket: str, s3: FaultyS3) -> Location:  # noqa: ARG001
    return Location.parse(f"s3://{bucket}/data")


@pytest.fixture
def table(folder: Location) -> Location:
    """A file with a tiny column after a large one, so that it is read separately."""
    columns = [["one"] * ROWS, [os.urandom(50) for _ in range(ROWS)], [1] * ROWS]
    rows = pa.table(columns, schema=SCHEMA)
    write_file([rows], folder, "part.parquet", SCHEMA, incompressible=["content"])
    return folder / "part.parquet"


def refuse(s3: FaultyS3, fault: Fault, nth: int) -> None:
    """Make every nth read fail; with 1 every read."""
    reads = [0]

    def rule(_number: int, method: str, _path: str) -> Fault | None:
        reads[0] += method == "GET"
        return fault if method == "GET" and reads[0] % nth == 0 else None

    s3.rule = rule


def test_a_tiny_column_is_read_despite_throttling(s3: FaultyS3, table: Location) -> None:
    refuse(s3, Fault.SLOW_DOWN, 2)
    with open_parquet(table, verify=True) as file:
        found = file.read(["orientation"], use_threads=False)
    assert found["orientation"].to_pylist() == [1] * ROWS
    assert s3.met[Fault.SLOW_DOWN]


def test_a_failed_read_of_a_few_bytes_is_reported_with_its_remedy(
    s3: FaultyS3, table: Location
) -> None:
    def read() -> None:
        with open_parquet(table) as file:
            refuse(s3, Fault.EXPIRED, 1)
            file.read(["orientation"], use_threads=False)

    with pytest.raises(AwsError, match="aws sso login"):
        read()


def test_a_tiny_file_is_read_despite_throttling(s3: FaultyS3, folder: Location) -> None:
    (folder / "receipt.json").write(b"{}")
    refuse(s3, Fault.SLOW_DOWN, 2)
    assert [(folder / "receipt.json").read() for _ in range(2)] == [b"{}"] * 2
    assert s3.met[Fault.SLOW_DOWN]


def test_rows_of_a_csv_file_are_counted_in_a_few_calls(s3: FaultyS3, folder: Location) -> None:
    (folder / "rows.csv").write(b"image_id,path\n" + b"1,2\n" * 100_000)
    before = s3.calls
    assert count_rows(folder / "rows.csv") == 100_000
    assert s3.calls - before <= 3


@pytest.mark.parametrize("size", [0, 1, MIN_READ_BYTES - 1, MIN_READ_BYTES, 3 * MIN_READ_BYTES])
def test_every_range_is_read_correctly(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    places = [0, 1, size // 2, size - 1, size, size + 9]
    with PaddedFile(fs.LocalFileSystem().open_input_file(str(path))) as file:
        for start in filter(lambda place: place >= 0, places):
            for length in (0, 1, 100, MIN_READ_BYTES, size, None, -1):
                file.seek(start)
                stop = size if length is None or length < 0 else start + length
                assert file.read(length) == content[start:stop]
                assert file.tell() == max(start, min(stop, size))
        assert file.seek(0, 2) == size
