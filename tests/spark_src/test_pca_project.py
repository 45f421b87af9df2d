"""Projections on Spark are complete, and existing components do not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import AuditError, PcaError
from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import read_columns
from spark_src.tables.schemas import MOBILENET_FEATURES, PCA_COMPONENTS
from spark_src.tables.statistics import ComponentsStatistics
from tests.spark_src.vectors import Row, VectorStorage, features_of, fitted, images, project_all

Store = Callable[..., Snapshot]
Numbers = dict[str, list[float]]


@pytest.fixture(scope="module")
def pca(spark: SparkSession, sample_version: Snapshot) -> PcaModel:
    return fitted(spark, sample_version, 5)


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return Location.parse(str(tmp_path))


def components(snapshot: Snapshot) -> Numbers:
    """Path -> stored components."""
    rows = read_columns(snapshot.locations, ["path", "pca"]).to_pylist()
    return {row["path"]: row["pca"] for row in rows}


def content_of(folder: Location) -> dict[str, bytes]:
    """Every file in a folder, including the log."""
    files = (Location("file", info.path) for info in folder.files())
    return {str(file): file.read() for file in files}


def test_projected_rows_keep_their_keys_and_no_other_column(
    spark: SparkSession, sample_version: Snapshot, pca: PcaModel, folder: Location
) -> None:
    files = project_all(spark, sample_version, pca, folder)
    found = read_columns(files, PCA_COMPONENTS.names)
    assert found.drop_columns(["file", "row"]).schema.equals(PCA_COMPONENTS)
    keys = ["image_id", "path", "split", "label"]
    stored = read_columns(sample_version.locations, keys)
    assert found.num_rows == 240
    for name in keys:
        assert found.sort_by("path")[name].equals(stored.sort_by("path")[name])
    assert set(found["pca_model"].to_pylist()) == {pca.digest}


def test_rows_without_split_and_label_are_projected(
    spark: SparkSession, store_features: Store, pca: PcaModel, folder: Location
) -> None:
    rows: list[Row] = [{"features": row["features"]} for row in images(range(9))]
    files = project_all(spark, store_features(rows), pca, folder)
    found = read_columns(files, PCA_COMPONENTS.names).to_pylist()
    assert len(found) == 9
    assert {(row["split"], row["label"], len(row["pca"])) for row in found} == {(None, None, 5)}


def test_components_are_the_features_less_the_mean_times_the_loadings(
    storage: VectorStorage,
) -> None:
    found = components(storage.tables.current("pca_components"))
    pca = fitted(storage.spark, storage.tables.current("mobilenet_features"))
    test = images(range(30), "Test")
    expected = (features_of(test) - pca.mean) @ pca.components.T
    np.testing.assert_allclose([found[row["path"]] for row in test], expected, atol=1e-5)


def test_existing_components_do_not_change_when_pictures_are_added(
    storage: VectorStorage,
) -> None:
    before = storage.tables.current("pca_components")
    yesterday = components(before)
    storage.features({"c": images(range(60, 64)), "d": images(range(30, 50), "Test")})
    fit, _ = storage.refresh_pca()
    after = storage.refresh_components()
    today = components(after)
    assert not fit.is_new
    assert len(today) == 114
    assert {path: today[path] for path in yesterday} == yesterday
    assert {file.name for file in before.files} < {file.name for file in after.files}
    assert after.typed(ComponentsStatistics).projected == 24


@pytest.mark.parametrize("order", ["reversed", "shuffled", "among others"])
def test_components_do_not_change_when_their_file_is_rewritten(
    storage: VectorStorage, order: str
) -> None:
    """The rewritten file changes an image's row within its block."""
    yesterday = components(storage.tables.current("pca_components"))
    rows = images(range(1, 60))
    if order == "reversed":
        rows.reverse()
    elif order == "shuffled":
        rows = [rows[n] for n in np.random.default_rng(8).permutation(59)]
    else:
        rows = [*images(range(450, 1000), "Test"), *rows]
    storage.features({"rewritten": rows}, ["0", "1", "2", "3"])
    fit, _ = storage.refresh_pca()
    today = components(storage.refresh_components())
    assert not fit.is_new
    assert "Training/0000.jpg" not in today
    kept = yesterday.keys() - {"Training/0000.jpg"}
    assert {path: today[path] for path in kept} == {path: yesterday[path] for path in kept}


def test_components_of_removed_images_are_removed(storage: VectorStorage) -> None:
    storage.features({}, ["test"])
    storage.refresh_pca()
    after = storage.refresh_components()
    assert set(components(after)) == {row["path"] for row in images(range(60))}
    assert after.rows == after.typed(ComponentsStatistics).rows == 60


def test_a_refit_projects_every_image(storage: VectorStorage) -> None:
    storage.features({"c": images(range(60, 90))})
    fit, model = storage.refresh_pca()
    after = storage.refresh_components()
    assert fit.is_new
    assert after.typed(ComponentsStatistics).projected == after.rows == 120
    rows = read_columns(after.locations, ["pca_model"])
    assert set(rows["pca_model"].to_pylist()) == {model.statistics.digest}


def test_nothing_is_projected_without_changes(storage: VectorStorage) -> None:
    before = storage.tables.current("pca_components")
    assert storage.refresh_components() == before


def rewritten(storage: VectorStorage, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a committed feature file before the next asset reads it."""
    file = storage.tables.current("mobilenet_features").location / "unsound.parquet"
    rows = read_columns([file], MOBILENET_FEATURES.names).select(MOBILENET_FEATURES.names)
    pq.write_table(change(rows), file.path)


def with_number(value: float | None) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        vectors: list[list[Any]] = rows["features"].to_pylist()
        vectors[3][7] = value
        return rows.set_column(
            5, MOBILENET_FEATURES.field(5), pa.array(vectors, pa.list_(pa.float32()))
        )

    return change


def without_vector(rows: pa.Table) -> pa.Table:
    vectors = rows["features"].to_pylist()
    vectors[0] = None
    return rows.set_column(
        5, MOBILENET_FEATURES.field(5), pa.array(vectors, pa.list_(pa.float32()))
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_number(float("nan")), AuditError, "pca_components: rows with NaN or infinity: 1"),
        (with_number(float("inf")), AuditError, "pca_components: rows with NaN or infinity: 1"),
        (with_number(None), AuditError, "pca_components: rows with NaN or infinity: 1"),
        (without_vector, PcaError, "^1 feature vectors do not have 1,280 numbers"),
        (
            lambda rows: rows.slice(2),
            AuditError,
            "pca_components: 92 rows were written, 94 were expected",
        ),
    ],
    ids=["NaN", "infinity", "null", "no vector", "rows lost"],
)
def test_invalid_components_are_rejected_and_the_table_is_unchanged(
    storage: VectorStorage,
    change: Callable[[pa.Table], pa.Table],
    error: type[Exception],
    message: str,
) -> None:
    before = storage.tables.current("pca_components")
    bytes_before = content_of(before.location)
    storage.features({"unsound": images(range(30, 34), "Test")})
    storage.refresh_pca()
    rewritten(storage, change)
    with pytest.raises(error, match=message):
        storage.refresh_components()
    assert storage.tables.current("pca_components") == before
    bytes_after = content_of(before.location)
    assert {name: bytes_after[name] for name in bytes_before} == bytes_before
    log = [name for name in bytes_after if "_delta_log" in name]
    assert set(log) == {name for name in bytes_before if "_delta_log" in name}
