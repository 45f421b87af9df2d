"""What goes into the CSV file comes out of it, whoever reads it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_src.errors import StorageError
from spark_src.io.locations import Location
from spark_src.tables.csv import FILE, count_rows, flatten, write_csv
from spark_src.tables.schemas import PCA_COMPONENTS

LABELS = [
    "Apple",
    "Apple, green",
    'the "best" one',
    '"',
    "two\nlines",
    "two\r\nlines",
    "return\rhere",
    " space before",
    "space after ",
    "tab\t",
    "back\\slash",
    'back\\"quote',
    "#comment",
    "Äpfel 果物 🍎",
    "=1+1",
    "a;b",
    "'",
    "NULL",
]
ROWS = [
    (f"id{number}", f"T/{label}/{number:02}.jpg", "Training", label, [number / 3, -1e-8, 2e9])
    for number, label in enumerate(LABELS)
]
ROWS.append(("unsplit", "Apple/1.jpg", None, "Apple", [0.1, 0.0, -0.0]))
ROWS.append(("bare", "1.jpg", None, None, [1.0, 2.0, 3.0]))


@pytest.fixture(scope="module")
def components(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, PCA_COMPONENTS).repartition(4)


@pytest.fixture(scope="module")
def file(components: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Location:
    folder = Location.parse(str(tmp_path_factory.mktemp("csv") / "a b#c%20[1]"))
    Path(folder.path).mkdir()
    return write_csv(flatten(components, 3), folder)


@pytest.fixture(scope="module")
def records(file: Location) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))


def test_the_folder_shows_one_file(file: Location) -> None:
    visible = [path.name for path in Path(file.path).parent.iterdir() if path.name[0] not in "._"]
    assert visible == [FILE] == [file.name]


def test_columns_are_keys_then_components_in_order(file: Location, components: DataFrame) -> None:
    header = file.read().decode().split("\n", 1)[0].strip()
    assert header == "image_id,path,split,label,pca_0,pca_1,pca_2"
    many = flatten(components, 12).columns
    assert many[4:] == [f"pca_{index}" for index in range(12)]


def test_the_header_is_there_once(file: Location) -> None:
    assert file.read().count(b"image_id") == 1


def test_every_image_has_one_row_sorted_by_path(records: list[dict[str, str]]) -> None:
    assert [record["path"] for record in records] == sorted(row[1] for row in ROWS)


@pytest.mark.parametrize("label", LABELS)
def test_python_reads_the_label_that_went_in(records: list[dict[str, str]], label: str) -> None:
    record = next(record for record in records if record["image_id"] == f"id{LABELS.index(label)}")
    assert record["label"] == label
    assert record["path"] == f"T/{label}/{LABELS.index(label):02}.jpg"


@pytest.mark.parametrize("engine", ["c", "python"])
def test_pandas_reads_what_went_in(file: Location, engine: str) -> None:
    table = pd.read_csv(file.path, keep_default_na=False, engine=engine)  # type: ignore[call-overload]
    found = table.set_index("image_id")
    for image_id, path, split, label, pca in ROWS:
        row = found.loc[image_id]
        assert (row.path, row.split, row.label) == (path, split or "", label or "")
        values = row[["pca_0", "pca_1", "pca_2"]].to_numpy(np.float32)
        np.testing.assert_array_equal(values, np.array(pca, np.float32))


def test_a_missing_split_or_label_stays_empty(
    records: list[dict[str, str]], file: Location
) -> None:
    by_id = {record["image_id"]: record for record in records}
    assert (by_id["unsplit"]["split"], by_id["unsplit"]["label"]) == ("", "Apple")
    assert (by_id["bare"]["split"], by_id["bare"]["label"]) == ("", "")
    assert b"unsplit,Apple/1.jpg,,Apple," in file.read()


def test_rows_are_counted_whatever_line_breaks_they_hold(file: Location) -> None:
    assert count_rows(file) == len(ROWS)


def test_a_table_of_other_columns_is_refused(components: DataFrame) -> None:
    with pytest.raises(StorageError, match="pca_components should have the columns"):
        flatten(components.drop("split"), 3)
