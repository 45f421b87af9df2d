"""One run of the whole graph on the sample: tables, columns, CSV, checks and metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.ml.feature import PCAModel
from pyspark.sql import SparkSession

from fruits_assets.settings import IMAGENET_WEIGHTS
from spark_src.features.model import IMAGENET_WEIGHTS_SHA256
from spark_src.pca import files as pca_files
from spark_src.pca.fit import load_current
from spark_src.tables.delta import Snapshot, is_table
from spark_src.tables.statistics import MobilenetModelStatistics

Current = Callable[[Path, str], Snapshot]
Metadata = Mapping[str, dg.MetadataValue]

KEYS = {"image_id": "string", "path": "string", "split": "string", "label": "string"}
SOURCE = {"source_modified": "timestamp[us, tz=UTC]", "source_etag": "string"}
COLUMNS = {
    "raw_images": KEYS
    | {"content": "binary", "width": "int32", "height": "int32", "orientation": "int32"}
    | {"source_bytes": "int64"}
    | SOURCE,
    "rejected_images": {"path": "string", "bytes": "int64", "reason": "string", "detail": "string"}
    | SOURCE,
    "mobilenet_features": KEYS
    | {"orientation": "int32", "features": "list<element: float>", "model_sha256": "string"},
    "pca_components": KEYS | {"pca": "list<element: float>", "pca_model": "string"},
}
ROWS = {"raw_images": 240, "rejected_images": 0, "mobilenet_features": 240, "pca_components": 240}
WITHOUT_ROWS = {"mobilenet_model", "pca_model", "embedding_quality", "fruit_classifier"}
ON_HOST = {"data_health", "label_issues"}
EVERY_ASSET = {*ROWS, *WITHOUT_ROWS, *ON_HOST, "csv_export"}
WITH_MODEL = {"mobilenet_model", "mobilenet_features", "pca_model", "pca_components"}


@pytest.fixture
def table(stored: Path, read: Callable[..., pa.Table]) -> Callable[[str], pa.Table]:
    """Read a stored table with a plain Delta reader."""
    return lambda asset: read(stored, asset)


@pytest.fixture
def model_sha256(stored: Path, current: Current) -> str:
    """The digest of the converted model's file."""
    return hashlib.sha256(current(stored, "mobilenet_model").data_location.read()).hexdigest()


@pytest.fixture
def metadata(whole_run: dg.ExecuteInProcessResult) -> Callable[[str], Metadata]:
    """The metadata that the run recorded for an asset."""

    def find(asset: str) -> Metadata:
        events = whole_run.get_asset_materialization_events()
        (found,) = [e.materialization for e in events if e.asset_key == dg.AssetKey(asset)]
        return found.metadata

    return find


def test_every_asset_is_materialized_once(whole_run: dg.ExecuteInProcessResult) -> None:
    events = whole_run.get_asset_materialization_events()
    names = [event.materialization.asset_key.to_user_string() for event in events]
    assert sorted(names) == sorted(EVERY_ASSET)


@pytest.mark.parametrize("asset", COLUMNS)
def test_a_table_has_the_rows_and_columns_of_the_contract(
    asset: str, table: Callable[[str], pa.Table]
) -> None:
    found = table(asset)
    assert found.num_rows == ROWS[asset]
    assert {field.name: str(field.type) for field in found.schema} == COLUMNS[asset]


def test_every_table_has_the_same_images(sample: Path, table: Callable[[str], pa.Table]) -> None:
    files = {str(path.relative_to(sample)) for path in sample.rglob("*.jpg")}
    names = ("raw_images", "mobilenet_features", "pca_components")
    keys = [table(name).select(list(KEYS)).sort_by("path").to_pylist() for name in names]
    assert {row["path"] for row in keys[0]} == files
    assert keys[0] == keys[1] == keys[2]


def test_split_and_label_are_the_folders_and_the_id_is_the_content_digest(
    table: Callable[[str], pa.Table],
) -> None:
    for row in table("raw_images").to_pylist():
        assert row["path"].split("/")[:2] == [row["split"], row["label"]]
        assert row["image_id"] == hashlib.sha256(row["content"]).hexdigest()
        assert (row["width"], row["height"], row["orientation"]) == (100, 100, 1)


@pytest.mark.parametrize(
    ("asset", "column", "length"),
    [("mobilenet_features", "features", 1280), ("pca_components", "pca", 50)],
)
def test_vectors_are_complete_finite_and_different(
    asset: str, column: str, length: int, table: Callable[[str], pa.Table]
) -> None:
    vectors = table(asset).column(column)
    assert vectors.null_count == 0
    matrix = np.array(vectors.to_pylist())
    assert matrix.shape == (240, length)
    assert np.isfinite(matrix).all()
    assert len(np.unique(matrix, axis=0)) > 200


def test_all_features_are_of_one_model(
    stored: Path, current: Current, table: Callable[[str], pa.Table], model_sha256: str
) -> None:
    known = current(stored, "mobilenet_model").typed(MobilenetModelStatistics)
    pca = load_current(current(stored, "pca_model"))
    named = table("mobilenet_features").column("model_sha256").unique().to_pylist()
    assert [known.sha256, pca.model_sha256, *named] == [model_sha256] * 3


def test_all_components_are_of_one_pca_model(
    stored: Path, current: Current, table: Callable[[str], pa.Table]
) -> None:
    pca = load_current(current(stored, "pca_model"))
    assert table("pca_components").column("pca_model").unique().to_pylist() == [pca.digest]


def test_pca_is_fitted_on_training_and_projects_every_split(
    stored: Path, current: Current, table: Callable[[str], pa.Table]
) -> None:
    model = load_current(current(stored, "pca_model"))
    features = table("mobilenet_features")
    components = table("pca_components")
    matrix = np.array(features.column("features").to_pylist())
    training = np.array(features.column("split").to_pylist()) == "Training"
    assert model.n_images == training.sum() == 180
    np.testing.assert_allclose(model.mean, matrix[training].mean(axis=0), atol=1e-6)
    projected = (matrix - model.mean) @ model.components.T
    np.testing.assert_allclose(components.column("pca").to_pylist(), projected, atol=1e-4)


def test_the_spark_ml_model_beside_the_pca_model_is_the_same(
    spark: SparkSession, stored: Path, current: Current
) -> None:
    version = current(stored, "pca_model")
    theirs = PCAModel.load((version.data_location / pca_files.SPARK_ML).hadoop)
    assert spark.version.startswith("3.5")
    np.testing.assert_array_equal(theirs.pc.toArray().T, load_current(version).components)


def test_the_csv_file_equals_the_components(stored: Path, table: Callable[[str], pa.Table]) -> None:
    csv = pd.read_csv(stored / "Results_CSV" / "pca_components.csv")
    assert list(csv.columns) == [*KEYS, *(f"pca_{index}" for index in range(50))]
    components = table("pca_components")
    assert csv["path"].tolist() == components.column("path").to_pylist()
    numbers = csv[[f"pca_{index}" for index in range(50)]].to_numpy()
    np.testing.assert_allclose(numbers, components.column("pca").to_pylist(), rtol=1e-6)


def test_every_check_of_the_graph_passes_on_the_sample(
    whole_run: dg.ExecuteInProcessResult,
) -> None:
    evaluations = whole_run.get_asset_check_evaluations()
    assert len(evaluations) == 24
    # The sample has neighbouring frames of films in both splits.
    failing = [evaluation.check_name for evaluation in evaluations if not evaluation.passed]
    assert failing == ["no_picture_in_two_splits"]


@pytest.mark.parametrize("asset", sorted(EVERY_ASSET))
def test_asset_metadata_has_location_size_duration_and_libraries(
    asset: str, stored: Path, current: Current, metadata: Callable[[str], Metadata]
) -> None:
    found = metadata(asset)
    version = current(stored, asset)
    assert found["dagster/uri"].value == version.data_location.uri
    assert (
        found["size"].value == f"{sum(path.stat().st_size for path in files_of(version)):,} bytes"
    )
    assert found["version"].value == version.version == 0
    assert found["unchanged"].value is False
    assert 0 < found["seconds"].value < 300
    assert str(found["libraries"].value)


def files_of(version: Snapshot) -> list[Path]:
    """The files of a version: those of a table, or those listed in its statistics."""
    if is_table(version.asset):
        return [Path(file.path) for file in version.locations]
    named = [Path(version.location.path, name) for name in dict.fromkeys(version.statistics.files)]
    return [
        file
        for place in named
        for file in (place.rglob("*") if place.is_dir() else [place])
        if file.is_file()
    ]


@pytest.mark.parametrize("asset", sorted(EVERY_ASSET - WITHOUT_ROWS - ON_HOST))
def test_table_metadata_has_rows_columns_and_speed(
    asset: str, metadata: Callable[[str], Metadata]
) -> None:
    found = metadata(asset)
    assert found["dagster/row_count"].value == ROWS.get(asset, 240)
    assert found["images per second"].value > 0
    schema = found["dagster/column_schema"].value
    names = [column.name for column in schema.columns]
    csv_columns = [*KEYS, *(f"pca_{index}" for index in range(50))]
    assert names == (csv_columns if asset == "csv_export" else list(COLUMNS[asset]))
    assert [column.name for column in schema.columns if not column.description] == []


@pytest.mark.parametrize("asset", sorted(WITH_MODEL))
def test_metadata_names_the_model_used(
    asset: str, metadata: Callable[[str], Metadata], model_sha256: str
) -> None:
    assert metadata(asset)["model sha256"].value == f"{model_sha256[:16]}…"


def test_metadata_of_raw_images_has_the_input(
    sample: Path, metadata: Callable[[str], Metadata]
) -> None:
    assert metadata("raw_images")["input"].value == sample.as_uri()


def test_metadata_of_the_model_has_its_weights(metadata: Callable[[str], Metadata]) -> None:
    found = metadata("mobilenet_model")
    assert found["weights"].value == str(IMAGENET_WEIGHTS)
    assert found["weights sha256"].value == f"{IMAGENET_WEIGHTS_SHA256[:16]}…"


def test_metadata_of_the_pca_model_has_variance_and_components_needed(
    stored: Path, current: Current, metadata: Callable[[str], Metadata]
) -> None:
    found = metadata("pca_model")
    ratios = load_current(current(stored, "pca_model")).explained_variance_ratio
    sums = np.cumsum(ratios)
    assert found["explained variance"].value == pytest.approx(sums[49], abs=1e-6)
    assert 0.93 < found["explained variance"].value < 0.94
    assert found["components for 90 %"].value == int((sums < 0.9).sum()) + 1
    assert found["components for 95 %"].value == int((sums < 0.95).sum()) + 1
