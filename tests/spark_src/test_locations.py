"""Parsing of locations; each library finds the same folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from pyspark.sql import SparkSession

from spark_src.errors import SettingsError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.frames import read_files
from tests.small_tables import add

AWKWARD_NAMES = [
    "a b",
    "a#b",
    "50%",
    "a%20b",
    "photos [1]",
    "{a,b}",
    "what?",
    "star*",
    "a+b&c=d",
    "Übergröße 果物",
]


def test_a_local_path_is_kept_unchanged() -> None:
    location = Location.parse("/data/a b#c%20[1]")
    assert location == Location("file", "/data/a b#c%20[1]")
    assert str(location) == "/data/a b#c%20[1]"


def test_a_relative_path_starts_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Location.parse("data/in").path == f"{tmp_path}/data/in"


def test_dots_in_a_path_are_resolved_as_spark_resolves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert Location.parse("../data/./in").path == f"{tmp_path}/data/in"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.parse("~/fruits").path == f"{tmp_path}/fruits"


def test_a_file_uri_is_decoded() -> None:
    assert Location.parse("file:///data/a%20b%23c%2520%5B1%5D").path == "/data/a b#c%20[1]"


@pytest.mark.parametrize("text", ["file:///data/in/", "file:///data/in", "/data/in/"])
def test_a_slash_at_the_end_changes_nothing(text: str) -> None:
    assert Location.parse(text) == Location("file", "/data/in")


def test_an_s3_key_is_not_decoded() -> None:
    location = Location.parse("s3://fruits/raw images/a%20b/")
    assert location == Location("s3", "fruits/raw images/a%20b")
    assert location.uri == "s3://fruits/raw%20images/a%2520b"
    assert location.hadoop == "s3://fruits/raw images/a%20b"
    assert str(location) == location.uri


@pytest.mark.parametrize("text", ["s3:/bucket/key", "s3:bucket", "s3a:/bucket"])
def test_a_uri_without_its_second_slash_is_no_folder(text: str) -> None:
    with pytest.raises(SettingsError, match="lacks a slash; use s3://bucket/key"):
        Location.parse(text)


@pytest.mark.parametrize("text", ["s3a://bucket/key", "hdfs://host/in", "https://host/in"])
def test_an_unknown_scheme_is_refused_by_its_name(text: str) -> None:
    scheme = text.split(":", maxsplit=1)[0]
    with pytest.raises(SettingsError, match=f"its scheme is '{scheme}'.*s3://bucket/key"):
        Location.parse(text)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="empty"):
        Location.parse(text)


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "file://data/in"])
def test_a_uri_without_bucket_or_without_an_absolute_path_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Location.parse(text)


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_uri_read_again_is_the_same_location(name: str) -> None:
    location = Location("file", f"/data/{name}")
    assert Location.parse(location.uri) == location


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_pyarrow_resolves_a_uri_to_the_same_path(name: str) -> None:
    location = Location("file", f"/data/{name}")
    assert fs.FileSystem.from_uri(location.uri)[1] == location.path


@pytest.mark.parametrize("name", ["a b#c%20[1]", "{x,y}*?", "Übergröße 果物"])
def test_pyarrow_finds_files_written_by_spark(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    folder = Location.parse(str(tmp_path)) / name
    spark.range(3).coalesce(1).write.parquet(folder.hadoop)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert pq.read_table(folder.path, filesystem=folder.filesystem).num_rows == 3


@pytest.mark.parametrize("name", ["a b#c[1]", "{x,y}*?", "Übergröße 果物"])
def test_spark_reads_tables_in_folders_with_special_characters(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    tables = Tables(Location.parse(str(tmp_path)) / name)
    add(tables, "run-1", "a.jpg")
    version = add(tables, "run-2", "b.jpg")
    assert {row.path for row in read_files(spark, version).collect()} == {"a.jpg", "b.jpg"}


def test_a_written_file_can_be_read_listed_and_found(tmp_path: Path) -> None:
    folder = Location.parse(str(tmp_path / "a b#c%20[1]"))
    assert not folder.exists()
    assert folder.files() == []
    (tmp_path / "a b#c%20[1]" / "deep").mkdir(parents=True)
    (folder / "z.txt").write(b"last")
    (folder / "deep" / "a.txt").write(b"first")
    assert [file.base_name for file in folder.files()] == ["a.txt", "z.txt"]
    assert (folder / "z.txt").read() == b"last"
    assert (folder / "deep").exists()
    assert folder.name == "a b#c%20[1]"


def test_reading_a_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        (Location.parse(str(tmp_path)) / "none.json").read()


def test_make_folder_writes_nothing_to_s3(bucket: str) -> None:
    """pyarrow would write `data/`, `data/Results/`, …, which no role may write."""
    (Location.parse(f"s3://{bucket}/data") / "Results").make_folder()
    assert client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_create_accepts_its_own_content_whose_response_was_lost(bucket: str) -> None:
    client("s3").put_object(Bucket=bucket, Key="receipt.json", Body=b"same")
    file = Location.parse(f"s3://{bucket}/receipt.json")
    file.create(b"same")
    assert file.read() == b"same"


@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_create_never_overwrites(scheme: str, bucket: str, tmp_path: Path) -> None:
    folder = Location.parse(f"s3://{bucket}" if scheme == "s3" else str(tmp_path))
    file = folder / "receipt-1.json"
    file.create(b"first")
    with pytest.raises(FileExistsError):
        file.create(b"second")
    with file.open() as stream:
        assert stream.read() == b"first"
    assert [info.base_name for info in folder.files()] == ["receipt-1.json"]
