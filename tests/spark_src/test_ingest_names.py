"""File and folder names that Spark, Hadoop, URIs or locales treat specially."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.tables.delta import Tables
from tests.pipeline import ingest, rows_by_path, tables_in

REPOSITORY = Path(__file__).parents[2]

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
    "_SUCCESS_",
    "_MG_0001",
    ".hidden",
]

BYTES = {
    b"caf\xe9": "caf\\xe9",
    b"\xff\xfe": "\\xff\\xfe",
    b"cut \xf0\x9f\x8d": "cut \\xf0\\x9f\\x8d",
    rb"caf\xe9": "caf\\x5cxe9",
}
"""Names that are not valid UTF-8, one that looks escaped, and their form in tables."""

INGEST = """
import json, sys
from pathlib import Path
from tests.pipeline import ingest, rows_by_path, tables_in
from spark_src.spark.session import local_config, use_bundled_java
from pyspark.sql import SparkSession

use_bundled_java()
builder = SparkSession.builder
for name, value in local_config().items():
    builder = builder.config(name, value)
found = ingest(builder.getOrCreate(), tables_in(Path(sys.argv[2])), sys.argv[1])
print(json.dumps(sorted(rows_by_path(found.raw))))
"""


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def pictures_in(folder: Path, *names: bytes) -> Path:
    """A folder with a label folder and a picture of each name."""
    for name in names:
        label = os.fsencode(folder) + b"/Test/" + name
        os.makedirs(label)
        Path(os.fsdecode(label + b"/" + name + b".jpg")).write_bytes(jpeg())
    return folder


def paths_of(spark: SparkSession, tables: Tables, folder: str) -> dict[str, dict[str, Any]]:
    return rows_by_path(ingest(spark, tables, folder).raw)


@pytest.fixture(scope="module")
def found(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """One ingested picture per name."""
    folder = tmp_path_factory.mktemp("names")
    names = [*(name.encode() for name in NAMES), *BYTES]
    return paths_of(spark, tables_in(folder / "storage"), str(pictures_in(folder / "in", *names)))


@pytest.fixture
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables_in(tmp_path_factory.mktemp("storage"))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_an_awkward_name_is_found_by_that_name(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    row = found[f"Test/{name}/{name}.jpg"]
    assert (row["split"], row["label"]) == ("Test", name)


@pytest.mark.parametrize("name", BYTES)
def test_a_picture_whose_name_is_not_utf8_is_found_by_its_bytes(
    found: dict[str, dict[str, Any]], name: bytes
) -> None:
    text = BYTES[name]
    row = found[f"Test/{text}/{text}.jpg"]
    assert (row["split"], row["label"], row["width"]) == ("Test", text, 9)


def test_awkward_names_add_no_other_paths(found: dict[str, dict[str, Any]]) -> None:
    assert len(found) == len(NAMES) + len(BYTES)


def test_names_are_the_same_in_the_c_locale(tmp_path: Path) -> None:
    names = ["Äpfel 果物".encode(), *BYTES]
    folder = pictures_in(tmp_path / "Früchte", *names)
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", INGEST, str(folder), str(tmp_path / "storage")],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    texts = ["Äpfel 果物", *BYTES.values()]
    assert json.loads(run.stdout.splitlines()[-1]) == sorted(f"Test/{t}/{t}.jpg" for t in texts)


def test_a_picture_with_a_colon_in_its_name_is_found_by_that_name(
    spark: SparkSession, tables: Tables, tmp_path: Path
) -> None:
    (tmp_path / "Apple 5:3").mkdir()
    (tmp_path / "Apple 5:3" / "2026-06-01 12:30.jpg").write_bytes(jpeg())
    found = paths_of(spark, tables, str(tmp_path))
    assert found["Apple 5:3/2026-06-01 12:30.jpg"]["label"] == "Apple 5:3"


@pytest.mark.parametrize("name", ["a b#c%20[1]", "{x,y}*?", "12:30", "_photos", ".photos", "a\nb"])
def test_the_input_folder_itself_may_have_an_awkward_name(
    spark: SparkSession, tables: Tables, tmp_path: Path, name: str
) -> None:
    (tmp_path / name / "Test" / "Apple").mkdir(parents=True)
    (tmp_path / name / "Test" / "Apple" / "1.jpg").write_bytes(jpeg())
    assert set(paths_of(spark, tables, str(tmp_path / name))) == {"Test/Apple/1.jpg"}


def test_only_the_named_one_of_similar_input_folders_is_read(
    spark: SparkSession, tables: Tables, tmp_path: Path
) -> None:
    for name in ("in[ab]", "ina", "inb", "in"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").write_bytes(jpeg())
    assert set(paths_of(spark, tables, str(tmp_path / "in[ab]"))) == {"in[ab].jpg"}


@pytest.mark.parametrize("form", ["../in", "../here/../in", "file://{}/in", "file://{}//in/"])
def test_an_input_may_be_written_in_several_ways(
    spark: SparkSession, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "in" / "Apple").mkdir(parents=True)
    (tmp_path / "in" / "Apple" / "1.jpg").write_bytes(jpeg())
    monkeypatch.chdir(tmp_path / "here")
    assert set(paths_of(spark, tables, form.format(tmp_path))) == {"Apple/1.jpg"}


def test_the_input_itself_may_be_a_link(
    spark: SparkSession, tables: Tables, tmp_path: Path
) -> None:
    (tmp_path / "in" / "Apple").mkdir(parents=True)
    (tmp_path / "in" / "Apple" / "1.jpg").write_bytes(jpeg())
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert set(paths_of(spark, tables, str(tmp_path / "link"))) == {"Apple/1.jpg"}
