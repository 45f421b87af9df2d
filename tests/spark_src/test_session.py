"""Spark's configuration on one machine, and reading versions of tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.io.locations import Location
from spark_src.spark.session import local_config
from spark_src.tables.delta import Tables
from spark_src.tables.frames import read_files
from spark_src.tables.parquet import write_file
from spark_src.tables.schemas import PCA_COMPONENTS
from spark_src.tables.statistics import ComponentsStatistics, VectorStatistics

NAMES = ["data", "with space", "photo [x]", "star*", "100 {a,b}"]

STATISTICS = ComponentsStatistics(
    digest="digest",
    pca_model="pca",
    model_sha256="model",
    n_components=2,
    vectors=VectorStatistics(),
)


def rows(paths: list[str]) -> pa.Table:
    made = [
        {"image_id": path, "path": path, "pca": [0.5, -1.0], "pca_model": "pca"} for path in paths
    ]
    return pa.Table.from_pylist(made, schema=PCA_COMPONENTS)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_a_version_are_read_from_any_location(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    write = Tables(Location.parse(str(tmp_path / name))).begin("pca_components", "run-1")
    file = write_file([rows(["1.jpg", "2.jpg"])], write.folder, "part-1.parquet", PCA_COMPONENTS)
    snapshot = write.commit(STATISTICS, [file])

    table = read_files(spark, snapshot)

    assert sorted(row.path for row in table.collect()) == ["1.jpg", "2.jpg"]
    assert table.first().pca == [0.5, -1.0]


def test_files_that_a_commit_removed_are_not_read(spark: SparkSession, tmp_path: Path) -> None:
    tables = Tables(Location.parse(str(tmp_path)))
    for paths in (["1.jpg"], ["2.jpg", "3.jpg"]):
        write = tables.begin("pca_components", "run-1")
        name = f"part-{len(paths)}.parquet"
        file = write_file([rows(paths)], write.folder, name, PCA_COMPONENTS)
        gone = [known.name for known in write.before.files] if write.before else []
        write.commit(STATISTICS, [file], gone)

    table = read_files(spark, tables.current("pca_components"))

    assert sorted(row.path for row in table.collect()) == ["2.jpg", "3.jpg"]


def test_an_empty_version_has_its_columns(spark: SparkSession, tmp_path: Path) -> None:
    write = Tables(Location.parse(str(tmp_path))).begin("pca_components", "run-1")

    table = read_files(spark, write.commit(STATISTICS))

    assert table.count() == 0
    assert table.columns == PCA_COMPONENTS.names


def test_python_workers_run_this_interpreter(spark: SparkSession) -> None:
    def where(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"python": [sys.executable]})

    rows = spark.range(1).coalesce(1).mapInArrow(where, "python string").collect()
    assert {os.path.realpath(row.python) for row in rows} == {os.path.realpath(sys.executable)}


def test_no_port_is_open_to_the_network(spark: SparkSession) -> None:
    assert spark.sparkContext.uiWebUrl is None
    assert spark.conf.get("spark.driver.bindAddress") == "127.0.0.1"
    assert local_config()["spark.driver.host"] == "127.0.0.1"
