"""Files and folders whose names Spark, Hadoop and URIs each treat in their own way."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession

from spark_src.images.ingest import accepted, inspect, list_source
from spark_src.images.validate import Limits
from spark_src.io.locations import Location

NAMES = [
    "with space",
    " space before",
    "space after ",
    "Äpfel 果物 🍎",
    "a\u0301 combined",
    "a%20b",
    "50%",
    "%zz",
    "a#b",
    "what?",
    "star*",
    "a,b",
    'it\'s "quoted"',
    "photo [x]",
    "{a,b}",
    "two\nlines",
    "tab\there",
    "a+b&c=d",
    "a;b",
    "back\\slash",
    "~",
    "$HOME",
    "x" * 200,
]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def paths_of(spark: SparkSession, folder: str) -> dict[str, Row]:
    inspected = inspect(spark, list_source(Location.parse(folder)), Limits())
    rows = accepted(inspected).drop("content").collect()
    inspected.unpersist()
    return {row.path: row for row in rows}


@pytest.fixture(scope="module")
def found(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """A picture in a label folder of each name, called by that name too."""
    folder = tmp_path_factory.mktemp("names")
    for name in NAMES:
        (folder / "Test" / name).mkdir(parents=True)
        (folder / "Test" / name / f"{name}.jpg").write_bytes(jpeg())
    return paths_of(spark, str(folder))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_an_awkward_name_is_found_by_that_name(
    found: dict[str, Row], name: str
) -> None:
    row = found[f"Test/{name}/{name}.jpg"]
    assert (row.split, row.label) == ("Test", name)


def test_a_picture_with_a_colon_in_its_name_is_found_by_that_name(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "Apple 5:3").mkdir()
    (tmp_path / "Apple 5:3" / "2026-06-01 12:30.jpg").write_bytes(jpeg())
    found = paths_of(spark, str(tmp_path))
    assert found["Apple 5:3/2026-06-01 12:30.jpg"].label == "Apple 5:3"


def test_awkward_names_bring_no_other_paths(found: dict[str, Row]) -> None:
    assert len(found) == len(NAMES)


@pytest.mark.parametrize("name", ["a b#c%20[1]", "{x,y}*?", "12:30", "_photos", ".photos", "a\nb"])
def test_the_input_folder_itself_may_have_an_awkward_name(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    (tmp_path / name / "Test" / "Apple").mkdir(parents=True)
    (tmp_path / name / "Test" / "Apple" / "1.jpg").write_bytes(jpeg())
    assert set(paths_of(spark, str(tmp_path / name))) == {"Test/Apple/1.jpg"}


def test_only_the_named_one_of_similar_input_folders_is_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    for name in ("in[ab]", "ina", "inb", "in"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").write_bytes(jpeg())
    assert set(paths_of(spark, str(tmp_path / "in[ab]"))) == {"in[ab].jpg"}


@pytest.mark.parametrize("form", ["../in", "../here/../in", "file://{}/in", "file://{}//in/"])
def test_an_input_may_be_written_in_several_ways(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "in" / "Apple").mkdir(parents=True)
    (tmp_path / "in" / "Apple" / "1.jpg").write_bytes(jpeg())
    monkeypatch.chdir(tmp_path / "here")
    assert set(paths_of(spark, form.format(tmp_path))) == {"Apple/1.jpg"}


def test_linked_folders_and_files_are_read_like_any_other(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(jpeg())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Apple").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for folder in ("in", "link"):
        listed = list_source(Location.parse(str(tmp_path / folder)))
        assert set(paths_of(spark, str(tmp_path / folder))) == set(listed.sizes)
        assert set(listed.sizes) == {"Apple/1.jpg", "2.jpg"}
