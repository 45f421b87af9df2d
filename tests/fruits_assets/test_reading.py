"""Reading the tables: `load`, and each line of docs/reading.md that can be run here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from fruits_assets import load
from spark_src.contract import PREFIXES
from spark_src.errors import (
    NothingStoredError,
    ResidencyError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.registry import TABLES
from tests.conftest import new_bucket

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
ARTIFACTS = sorted(PREFIXES.keys() - TABLES.keys())


@pytest.fixture(scope="module")
def reader(
    stored: Path, run: Callable[..., Any], sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `data`, from which a third of the pictures were deleted after the first run."""
    home = tmp_path_factory.mktemp("reader")
    shutil.copytree(stored, home / "data")
    fewer = Path(shutil.copytree(sample, home / "pictures"))
    labels = sorted({folder.name for folder in fewer.glob("*/*")})
    for folder in fewer.glob(f"*/{labels[0]}"):
        shutil.rmtree(folder)
    run(home / "data", "*pca_components", source=fewer)
    return home


@pytest.fixture
def in_stored(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))


def count(table: Any) -> int:
    """The number of rows in a result of any library."""
    if isinstance(table, pl.LazyFrame):
        return table.collect().height
    if isinstance(table, duckdb.DuckDBPyRelation):
        return len(table.fetchall())
    return len(table) if hasattr(table, "__len__") else int(table.count())


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: re.findall(r"import (\w+)", text)[0])
def test_each_documented_line_reads_the_current_rows_and_no_removed_ones(
    snippet: str, reader: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader)
    monkeypatch.setenv("FRUITS_STORAGE", "data")
    names: dict[str, Any] = {"spark": spark}
    exec(snippet, names)  # noqa: S102
    pictures = len(list((reader / "pictures").rglob("*.jpg")))
    assert 0 < pictures < 240
    assert count(names["table"]) == pictures


def test_the_files_of_the_folder_are_more_than_the_table(reader: Path) -> None:
    """This is why the document requires a Delta reader."""
    pictures = len(list((reader / "pictures").rglob("*.jpg")))
    assert len(pd.read_parquet(reader / "data" / "Results_PCA")) > pictures


def test_every_library_that_the_document_names_has_a_line() -> None:
    whole = "\n".join(SNIPPETS)
    for name in ("load(", "to_pandas()", "read_delta", "scan_delta", "duckdb.", "spark.read"):
        assert name in whole


def test_the_documented_folders_exist() -> None:
    named = set(re.findall(r"(?:data|BUCKET/data)/(\w+)", DOCUMENT))
    assert named and named <= set(PREFIXES.values())


@pytest.mark.usefixtures("in_stored")
@pytest.mark.parametrize("asset", TABLES)
def test_a_table_is_loaded_with_all_its_columns(asset: str) -> None:
    frame = load(asset)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == TABLES[asset].names
    assert len(frame) == (0 if asset == "rejected_images" else 240)


@pytest.mark.usefixtures("in_stored")
def test_columns_are_returned_in_the_requested_order() -> None:
    assert list(load("pca_components", ["label", "path"]).columns) == ["label", "path"]


@pytest.mark.usefixtures("in_stored")
@pytest.mark.parametrize("by", [[("split", "=", "Test")], pc.field("split") == "Test"])
def test_rows_are_chosen_by_triples_or_by_an_expression(by: Any) -> None:
    frame = load("pca_components", ["path"], filter=by)
    assert len(frame) == 60
    assert all(frame["path"].str.startswith("Test/"))


@pytest.mark.usefixtures("in_stored")
def test_each_library_gets_the_same_numbers() -> None:
    arrow = load("pca_components", kind="arrow")
    assert isinstance(arrow, pa.Table)
    expected = np.stack(load("pca_components")["pca"])
    assert expected.shape == (240, 50)
    np.testing.assert_array_equal(np.array(arrow["pca"].to_pylist(), np.float32), expected)
    polars = load("pca_components", kind="polars")
    assert isinstance(polars, pl.DataFrame)
    np.testing.assert_array_equal(np.stack(polars["pca"].to_list()).astype("f4"), expected)


def test_an_explicit_storage_takes_precedence_over_the_setting(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path))
    assert len(load("pca_components", ["path"], storage=stored)) == 240
    with pytest.raises(NothingStoredError):
        load("pca_components")


def test_a_table_in_s3_is_loaded(stored: Path, bucket: str) -> None:
    for file in (stored / "Results_PCA").rglob("*"):
        if file.is_file():
            key = f"data/{file.relative_to(stored)}"
            client("s3", "eu-west-1").upload_file(str(file), bucket, key)
    assert len(load("pca_components", ["path"], storage=f"s3://{bucket}/data")) == 240


@pytest.mark.usefixtures("aws")
def test_a_bucket_in_another_region_is_refused_before_anything_in_it_is_read() -> None:
    with pytest.raises(ResidencyError, match="is in eu-west-3, not in the configured eu-west-1"):
        load("pca_components", storage=f"s3://{new_bucket('eu-west-3')}/data")


@pytest.mark.usefixtures("in_stored")
@pytest.mark.parametrize("name", ["pca_component", "PCA_components", "raw_image"])
def test_the_closest_name_is_suggested_for_an_unknown_table(name: str) -> None:
    with pytest.raises(StorageError, match=rf"no asset '{name}'; did you mean (pca|raw)_\w+s\?"):
        load(name)


def test_a_missing_table_is_reported_with_the_command_to_materialize_it(tmp_path: Path) -> None:
    with pytest.raises(NothingStoredError, match=r"materialize --select '\*raw_images'"):
        load("raw_images", storage=tmp_path)


@pytest.mark.parametrize("asset", ARTIFACTS)
def test_a_file_asset_is_refused_with_the_command_that_locates_it(
    asset: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=f"{asset} is a file, not .*`uv run fruits path {asset}"):
        load(asset, storage=tmp_path)


@pytest.mark.usefixtures("in_stored")
@pytest.mark.parametrize(
    "query", [{"columns": ["lable"]}, {"filter": [("lable", "=", "x")]}], ids=["column", "filter"]
)
def test_an_unknown_column_is_reported_with_the_existing_ones(query: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"lable.* Its columns are image_id, path, split, label"):
        load("pca_components", **query)


@pytest.mark.usefixtures("in_stored")
def test_an_empty_table_refuses_an_unknown_column() -> None:
    with pytest.raises(StorageError, match="Its columns are path, bytes, reason"):
        load("rejected_images", ["resaon"])


def test_a_missing_file_is_reported(copied: Path) -> None:
    lost = Tables(Location.parse(str(copied))).current("pca_components").locations[0]
    Path(lost.path).unlink()
    with pytest.raises(UnreadableVersionError, match=f"(?s){lost.name}.*materialize pca_compon"):
        load("pca_components", storage=copied)


@pytest.mark.usefixtures("in_stored")
def test_a_missing_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="uv pip install polars"):
        load("pca_components", kind="polars")


@pytest.mark.usefixtures("in_stored")
def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of pandas, arrow, polars"):
        load("pca_components", kind="excel")


def test_importing_it_loads_no_library_and_using_it_starts_no_spark(stored: Path) -> None:
    program = f"""
import sys
from fruits_assets import load
heavy = {{"dagster", "pyspark", "pandas", "pyarrow", "boto3", "pydantic"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert load("pca_components", ["path"], storage={str(stored)!r}, kind="arrow").num_rows == 240
assert "dagster" not in sys.modules
spark = sys.modules.get("pyspark")
assert spark is None or spark.SparkContext._gateway is None
"""
    subprocess.run([sys.executable, "-c", program], check=True)
