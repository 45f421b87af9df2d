"""Spark shares out PCA's sums and projections: nothing is lost, counted twice or let in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.errors import PcaError
from spark_src.io.locations import Location
from spark_src.pca.fit import fit_version, project_files, sums_of_files
from spark_src.pca.model import UNIT, PcaModel, Sums
from spark_src.spark.session import read_table
from spark_src.storage import Version
from spark_src.tables.schemas import require_columns
from spark_src.tables.vector_files import VECTORS_PER_BLOCK
from spark_src.tables.vectors import FEATURES

Row = dict[str, Any]
Store = Callable[..., Version]


@pytest.fixture(scope="module")
def rows(sample_version: Version) -> list[Row]:
    return pq.read_table(sample_version.location.path).to_pylist()


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, sample_version: Version) -> PcaModel:
    return fit_version(spark, sample_version, 5, 0.8).model


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return Location.parse(str(tmp_path))


def random_vectors(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).random((count, FEATURES), np.float32)


def of_split(split: str | None, vectors: NDArray[np.float32]) -> list[Row]:
    return [{"split": split, "features": vector} for vector in vectors]


def assert_sums_of(sums: Sums, vectors: NDArray[np.floating[Any]]) -> None:
    features = vectors.astype(np.float64)
    assert sums.images == len(features)
    np.testing.assert_allclose(sums.total * UNIT, features.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(sums.gram * UNIT, features.T @ features, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("split", ["Training", "Test", None])
def test_the_sums_are_those_of_the_split_that_is_asked_for_or_of_all(
    spark: SparkSession, sample_version: Version, rows: list[Row], split: str | None
) -> None:
    wanted = [row["features"] for row in rows if split in (None, row["split"])]
    assert len(wanted) == {"Training": 180, "Test": 60, None: 240}[split]
    assert_sums_of(sums_of_files(spark, sample_version.location, split), np.array(wanted))


@pytest.mark.parametrize(("files", "rows_per_group"), [(1, 7), (5, 100), (3, 4)])
def test_every_image_is_summed_once_however_files_and_row_groups_fall(
    spark: SparkSession, store_features: Store, files: int, rows_per_group: int
) -> None:
    vectors = random_vectors(40)
    mixed = of_split("Test", random_vectors(9)) + of_split("Training", vectors)
    version = store_features(mixed, files, rows_per_group)
    assert_sums_of(sums_of_files(spark, version.location, "Training"), vectors)


def test_a_row_group_of_more_than_one_batch_is_summed_whole(
    spark: SparkSession, store_features: Store
) -> None:
    vectors = random_vectors(VECTORS_PER_BLOCK + 10)
    version = store_features(of_split(None, vectors))
    assert_sums_of(sums_of_files(spark, version.location, None), vectors)


def test_sums_of_two_sets_add_up_to_those_of_both(
    spark: SparkSession, store_features: Store, rows: list[Row]
) -> None:
    cherries = [row for row in rows if row["label"] == "Cherry 2"]
    others = [row for row in rows if row["label"] != "Cherry 2"]
    one, other = (
        sums_of_files(spark, store_features(part).location, None) for part in (cherries, others)
    )
    assert (one.images, other.images) == (len(cherries), len(others))
    assert_sums_of(one + other, np.array([row["features"] for row in rows]))


def test_images_without_a_split_are_not_taken_for_training_images(
    spark: SparkSession, store_features: Store
) -> None:
    training, loose = random_vectors(8), random_vectors(3)
    version = store_features(of_split("Training", training) + of_split(None, loose))
    assert_sums_of(sums_of_files(spark, version.location, "Training"), training)


def test_files_that_are_no_part_of_the_table_are_left_alone(
    spark: SparkSession, store_features: Store
) -> None:
    version = store_features(of_split("Training", random_vectors(8)))
    for name in ("_SUCCESS", ".part-0.parquet.crc"):
        Path(version.location.path, name).write_bytes(b"no Parquet")
    assert sums_of_files(spark, version.location, "Training").images == 8


@pytest.mark.parametrize("files", [0, 1])
def test_a_table_of_no_rows_has_sums_of_zero(
    spark: SparkSession, store_features: Store, files: int
) -> None:
    version = store_features([], files)
    assert_sums_of(sums_of_files(spark, version.location, None), np.zeros((0, FEATURES)))


def test_vectors_of_another_length_are_counted_over_all_files(
    spark: SparkSession, store_features: Store
) -> None:
    short = [{"split": "Training", "features": [1.0] * (FEATURES - 1)}] * 2
    version = store_features(of_split("Training", random_vectors(4)) + short, files=2)
    with pytest.raises(PcaError, match=r"^2 feature vectors do not have 1,280 numbers"):
        sums_of_files(spark, version.location, "Training")


def test_projected_rows_keep_their_keys_and_no_other_column(
    spark: SparkSession,
    sample_version: Version,
    fitted: PcaModel,
    rows: list[Row],
    folder: Location,
) -> None:
    project_files(spark, sample_version, fitted, folder)
    found = require_columns(read_table(spark, folder), "pca_components").collect()
    keys = ("image_id", "path", "split", "label")
    assert len(found) == 240
    assert {tuple(row[key] for key in keys) for row in found} == {
        tuple(row[key] for key in keys) for row in rows
    }


def test_rows_without_split_and_label_are_projected(
    spark: SparkSession, store_features: Store, fitted: PcaModel, folder: Location
) -> None:
    project_files(spark, store_features(of_split(None, random_vectors(9))), fitted, folder)
    found = read_table(spark, folder).collect()
    assert len(found) == 9
    assert {(row.split, row.label, len(row.pca)) for row in found} == {(None, None, 5)}
