"""Every reader gets the original values from the CSV file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark_src.io.locations import Location
from spark_src.tables import csv as csv_file
from spark_src.tables.delta import CURRENT, Tables
from tests.spark_src.exports import LABELS, ROWS, export, store


def shown(text: str) -> str:
    """Formulas are prefixed with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A storage with these rows in four files."""
    folder = tmp_path_factory.mktemp("csv") / "a b#c[1]"
    found = Tables(Location.parse(str(folder)))
    store(found, ROWS)
    return found


@pytest.fixture(scope="module")
def file(tables: Tables) -> Location:
    return export(tables).data_location


@pytest.fixture(scope="module")
def records(file: Location) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))


def test_the_folder_shows_one_file(file: Location) -> None:
    found = {path.name for path in Path(file.path).parent.iterdir()}
    assert found == {csv_file.FILE, CURRENT}
    assert file.name == "pca_components.csv"


def test_columns_are_keys_then_components_in_order(file: Location) -> None:
    header = file.read().decode().split("\n", 1)[0].strip()
    assert header == "image_id,path,split,label,pca_0,pca_1,pca_2"


def test_there_is_one_header(file: Location) -> None:
    assert file.read().count(b"image_id") == 1


def test_every_image_has_one_row_sorted_by_path(records: list[dict[str, str]]) -> None:
    assert [record["path"] for record in records] == sorted(row[1] for row in ROWS)


@pytest.mark.parametrize("label", LABELS)
def test_python_reads_the_original_label(records: list[dict[str, str]], label: str) -> None:
    record = next(record for record in records if record["image_id"] == f"id{LABELS.index(label)}")
    assert record["label"] == shown(label)
    assert record["path"] == f"T/{label}/{LABELS.index(label):02}.jpg"


@pytest.mark.parametrize("engine", ["c", "python"])
def test_pandas_reads_the_original_rows(file: Location, engine: str) -> None:
    table = pd.read_csv(file.path, keep_default_na=False, engine=engine)  # type: ignore[call-overload]
    found = table.set_index("image_id")
    for image_id, path, split, label, pca in ROWS:
        row = found.loc[image_id]
        assert (row.path, row.split, row.label) == (path, split or "", shown(label or ""))
        values = row[["pca_0", "pca_1", "pca_2"]].to_numpy(np.float32)
        np.testing.assert_array_equal(values, np.array(pca, np.float32))


@pytest.mark.parametrize("rows_at_once", [1, 3, len(ROWS)])
def test_the_file_does_not_depend_on_the_rows_sorted_at_once(
    tables: Tables, file: Location, tmp_path: Path, rows_at_once: int
) -> None:
    folder, components = Location.parse(str(tmp_path)), tables.current("pca_components")
    staged = csv_file.write_staged(components, folder, "run", rows_at_once=rows_at_once)
    assert staged.read() == file.read()


def test_a_missing_split_or_label_stays_empty(
    records: list[dict[str, str]], file: Location
) -> None:
    by_id = {record["image_id"]: record for record in records}
    assert (by_id["unsplit"]["split"], by_id["unsplit"]["label"]) == ("", "Apple")
    assert (by_id["bare"]["split"], by_id["bare"]["label"]) == ("", "")
    assert b"unsplit,Apple/1.jpg,,Apple," in file.read()


def test_quoted_line_breaks_do_not_change_the_row_count(file: Location) -> None:
    assert csv_file.count_rows(file) == len(ROWS)


FORMULAS = {
    **{f"{start}1+1": f"'{start}1+1" for start in (*"=+-@\uff1d\uff0b\uff0d\uff20", " =")},
    **{f"{start}1": f"'{start}1" for start in ("\t", "\r", "\n")},
    "Apple;=1+1": "Apple;'=1+1",
    "Apple\n=1+1": "Apple\n'=1+1",
    "Apple\t @1;-1": "Apple\t' @1;'-1",
}
"""Text -> how it is exported. Excel may split a cell at semicolons and line breaks."""


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_escaped_and_read_back(text: str) -> None:
    [escaped] = csv_file.escape_formulas(pa.array([text])).to_pylist()
    assert escaped == FORMULAS[text]
    assert csv_file.unescape_formula(escaped) == text


def test_other_texts_are_not_escaped() -> None:
    texts = ["1=", "a-b+c@d", "Apple; Red", "two\nlines", "", None]
    assert csv_file.escape_formulas(pa.array(texts)).to_pylist() == texts


def test_negative_numbers_stay_numbers(file: Location) -> None:
    assert pd.read_csv(file.path)["pca_1"].min() == pytest.approx(-1e-8)


def test_pandas_reads_a_file_with_a_byte_order_mark(tables: Tables, tmp_path: Path) -> None:
    folder = Location.parse(str(tmp_path / "csv"))
    components = tables.current("pca_components")
    file = csv_file.write_staged(components, folder, "run", byte_order_mark=True)
    assert file.read().startswith(b"\xef\xbb\xbfimage_id,path,split,label,pca_0")
    assert csv_file.has_byte_order_mark(file)
    assert list(pd.read_csv(file.path).columns)[:2] == ["image_id", "path"]
    assert csv_file.count_rows(file) == len(ROWS)


def test_a_file_without_byte_order_mark_and_a_missing_file_have_none(
    file: Location, tmp_path: Path
) -> None:
    assert not csv_file.has_byte_order_mark(file)
    assert not csv_file.has_byte_order_mark(Location.parse(str(tmp_path / "none.csv")))
