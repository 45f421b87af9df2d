"""Tasks and batches have the sizes that were chosen, table by table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_src.errors import StorageError
from spark_src.io.locations import Location
from spark_src.spark.session import (
    BYTES_PER_BATCH,
    IMAGES_PER_TASK,
    PICTURES_PER_BATCH,
    local_config,
    read_pictures,
    read_table,
    read_vectors,
    write_table,
)
from spark_src.storage import Storage, Version
from spark_src.tables.schemas import SCHEMAS, require_columns

PICTURES = 4 * 240

SETTINGS = (
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.parquet.columnarReaderBatchSize",
)


@pytest.fixture(scope="module")
def pictures(
    spark: SparkSession, sample_images: Location, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """The sample, four times over, as a version of raw_images in one file."""
    storage = Storage(Location.parse(str(tmp_path_factory.mktemp("storage"))))
    draft = storage.begin("raw_images", "run-1")
    images = read_table(spark, sample_images)
    images = images.union(images).union(images).union(images).coalesce(1)
    write_table(images, "raw_images", draft.location)
    return storage.publish(draft, {"rows": PICTURES})


def rows_of_tasks(table: DataFrame) -> list[int]:
    counts = table.select("path").rdd.mapPartitions(lambda rows: [sum(1 for _ in rows)])
    return counts.collect()


def largest_batch(table: DataFrame) -> int:
    def sizes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"rows": [batch.num_rows]})

    return max(row.rows for row in table.select("path").mapInArrow(sizes, "rows long").collect())


def test_pictures_are_shared_out_in_even_tasks(spark: SparkSession, pictures: Version) -> None:
    rows = [count for count in rows_of_tasks(read_pictures(spark, pictures)) if count]
    assert sum(rows) == PICTURES
    assert 3 <= len(rows) <= 5
    assert max(rows) <= IMAGES_PER_TASK * 1.5


def test_pictures_travel_in_small_batches_and_vectors_in_large_ones(
    spark: SparkSession, pictures: Version, sample_features: Location
) -> None:
    assert largest_batch(read_pictures(spark, pictures)) <= PICTURES_PER_BATCH
    assert largest_batch(read_vectors(spark, sample_features)) == 240


def test_of_large_pictures_fewer_travel_at_once(spark: SparkSession, pictures: Version) -> None:
    largest = BYTES_PER_BATCH // 5
    large = replace(pictures, facts=pictures.facts | {"largest_file": largest})
    assert 1 < largest_batch(read_pictures(spark, large)) <= 5


def test_a_picture_larger_than_a_batch_travels_alone(
    spark: SparkSession, pictures: Version
) -> None:
    huge = replace(pictures, facts=pictures.facts | {"largest_file": 2 * BYTES_PER_BATCH})
    assert largest_batch(read_pictures(spark, huge)) == 1


def test_a_setting_made_for_one_table_stays_with_it(
    spark: SparkSession, pictures: Version, sample_features: Location
) -> None:
    before = [spark.conf.get(name) for name in SETTINGS]
    read_pictures(spark, pictures).count()
    read_vectors(spark, sample_features).count()
    assert [spark.conf.get(name) for name in SETTINGS] == before
    assert largest_batch(read_table(spark, sample_features)) <= PICTURES_PER_BATCH


def test_an_empty_version_can_be_read(
    spark: SparkSession, sample_images: Location, tmp_path: Path
) -> None:
    storage = Storage(Location.parse(str(tmp_path)))
    draft = storage.begin("raw_images", "run-1")
    none = read_table(spark, sample_images).where("label = 'Banana'")
    none.write.mode("append").parquet(draft.location.hadoop)
    assert read_pictures(spark, storage.publish(draft, {"rows": 0})).count() == 0


def test_python_workers_run_this_interpreter(spark: SparkSession) -> None:
    def where(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"python": [sys.executable]})

    rows = spark.range(1).coalesce(1).mapInArrow(where, "python string").collect()
    assert {os.path.realpath(row.python) for row in rows} == {os.path.realpath(sys.executable)}


def test_nothing_listens_to_the_network(spark: SparkSession) -> None:
    assert spark.sparkContext.uiWebUrl is None
    assert spark.conf.get("spark.driver.bindAddress") == "127.0.0.1"
    assert local_config()["spark.driver.host"] == "127.0.0.1"


@pytest.mark.parametrize("asset", SCHEMAS)
def test_a_table_with_a_spare_a_missing_or_another_column_is_refused(
    spark: SparkSession, asset: str
) -> None:
    table = spark.createDataFrame([], SCHEMAS[asset])
    assert require_columns(table, asset) is table
    spare = table.selectExpr("*", "1 as spare")
    missing = table.drop("path")
    other = missing.selectExpr("*", "1 as path")
    for wrong in (spare, missing, other):
        with pytest.raises(StorageError, match=f"{asset} should have the columns"):
            require_columns(wrong, asset)
