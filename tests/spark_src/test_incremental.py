"""Only features of new pictures are computed; others are carried over or resumed exactly."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import AuditError, UnreadableVersionError
from spark_src.features import incremental
from spark_src.features.interrupted import STAGED
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import FeaturesPlan, plan_features
from spark_src.images import plan as ingest_plan
from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import open_parquet, write_file
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES
from spark_src.tables.statistics import FeaturesStatistics
from spark_src.tables.vectors import float_lists, to_matrix
from tests.pipeline import featurize, ingest, rows_by_path, table_of, tables_in

LABELS = ("Apple Golden 1", "Tomato 2")


@pytest.fixture
def source(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 of the sample's 240 pictures, which ingest writes to four files."""
    monkeypatch.setattr(ingest_plan, "MIN_ROWS", 10)
    for label in LABELS:
        shutil.copytree(sample / "Test" / label, tmp_path / "in" / "Test" / label)
    return tmp_path / "in"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "storage")


@pytest.fixture
def refresh(spark: SparkSession, tables: Tables, source: Path, mobilenet: MobilenetModel) -> Any:
    """Runs ingest and features."""

    def run() -> tuple[FeaturesPlan, Snapshot]:
        raw = ingest(spark, tables, source).raw
        return featurize(spark, tables, raw, mobilenet)

    return run


@pytest.fixture
def planned(
    spark: SparkSession, tables: Tables, source: Path, mobilenet: MobilenetModel
) -> tuple[TableWrite, FeaturesPlan]:
    """A run that has ingested and planned."""
    raw = ingest(spark, tables, source).raw
    write = tables.begin("mobilenet_features", "run-1", [raw])
    return write, plan_features(write, raw, mobilenet.sha256)


def of_the_sample(features: Snapshot, paths: list[str]) -> list[list[float]]:
    rows = rows_by_path(features)
    return [rows[path]["features"] for path in paths]


def statistics_of(features: Snapshot) -> tuple[int, int, int]:
    known = features.typed(FeaturesStatistics)
    return known.computed, known.carried_over, known.resumed


def files_under(tables: Tables) -> dict[str, tuple[int, bytes]]:
    """Modification time and content of every file in the storage, including logs."""
    files = [path for path in Path(tables.root.path).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def compute(
    spark: SparkSession, write: TableWrite, plan: FeaturesPlan, model: MobilenetModel
) -> list[DataFile]:
    counter = spark.sparkContext.accumulator(0)
    return incremental.compute(lambda: spark, plan, model, write.folder, lambda: counter)


def fails(*_: object) -> Any:
    raise AssertionError("Spark was started")


def test_the_first_features_are_computed_and_unchanged_ones_cost_nothing(
    refresh: Any, tables: Tables, mobilenet: MobilenetModel, sample_version: Snapshot
) -> None:
    _, first = refresh()
    assert statistics_of(first) == (40, 0, 0)
    rows = rows_by_path(first)
    assert [row["features"] for row in rows.values()] == of_the_sample(sample_version, list(rows))
    before = files_under(tables)
    plan, again = refresh()
    assert plan.is_empty
    assert again == first
    assert incremental.compute(fails, plan, mobilenet, first.location, fails) == []
    assert files_under(tables) == before


def test_the_table_has_its_columns_and_the_rows_of_raw_images_in_their_order(
    refresh: Any, tables: Tables
) -> None:
    _, features = refresh()
    raw = table_of(tables.current("raw_images"))
    keys = [*KEYS, "orientation"]
    for location in features.locations:
        with open_parquet(location) as parquet:
            assert parquet.schema_arrow.equals(MOBILENET_FEATURES)
    assert table_of(features).select(keys).equals(raw.select(keys))


def test_statistics_cover_the_whole_table(refresh: Any, source: Path) -> None:
    refresh()
    (source / "Test" / "Tomato 2").rename(source / "Test" / "Tomato 3")
    shutil.copytree(source / "Test" / LABELS[0], source / "Training" / LABELS[0])
    _, features = refresh()
    known = features.typed(FeaturesStatistics)
    values = to_matrix(table_of(features)["features"].combine_chunks()).astype(np.float64)
    norms = np.abs(values).sum(axis=1)
    assert statistics_of(features) == (0, 60, 0)
    assert known.splits == {"Test": 40, "Training": 20}
    assert (known.vectors.nulls, known.vectors.not_finite) == (0, 0)
    assert (known.vectors.shortest, known.vectors.longest) == (1280, 1280)
    assert (known.vectors.smallest, known.vectors.largest) == (values.min(), values.max())
    assert known.vectors.smallest_norm == pytest.approx(norms.min())
    assert known.vectors.largest_norm == pytest.approx(norms.max())


def test_after_adding_removing_moving_and_copying_pictures_every_row_has_its_own_features(
    refresh: Any, source: Path, sample: Path, sample_version: Snapshot
) -> None:
    refresh()
    shutil.copytree(sample / "Test" / "Cherry 2", source / "Test" / "Cherry 2")
    shutil.copytree(sample / "Test" / "Cherry 2", source / "Again" / "Cherry 2")
    (source / "Test" / LABELS[0]).rename(source / "Test" / "Moved")
    next((source / "Test" / LABELS[1]).iterdir()).unlink()
    plan, features = refresh()
    assert statistics_of(features) == (20, 39, 0)
    origin = {
        path: path.replace("Again/", "Test/").replace("Moved", LABELS[0])
        for path in rows_by_path(features)
    }
    assert len(origin) == 79 and plan.n_computed == 20
    found = [row["features"] for row in rows_by_path(features).values()]
    assert found == of_the_sample(sample_version, list(origin.values()))


def test_work_of_an_interrupted_run_is_not_repeated(
    refresh: Any,
    spark: SparkSession,
    planned: tuple[TableWrite, FeaturesPlan],
    mobilenet: MobilenetModel,
    sample_version: Snapshot,
) -> None:
    write, plan = planned
    finished = compute(spark, write, replace(plan, computations=plan.computations[:3]), mobilenet)
    Path(write.folder.path, ".part-unfinished.parquet.0123").write_bytes(b"PAR1 and no more")
    _, made = refresh()
    assert set(finished) < set(made.files)
    assert statistics_of(made) == (10, 0, 30)
    rows = rows_by_path(made)
    assert [row["features"] for row in rows.values()] == of_the_sample(sample_version, list(rows))
    assert not Path(write.folder.path, STAGED).exists()


def test_a_damaged_file_of_the_current_version_is_named_and_not_carried_over(
    refresh: Any, source: Path, tables: Tables
) -> None:
    _, made = refresh()
    file = Path(made.locations[0].path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    (source / "Test" / LABELS[0]).rename(source / "Test" / "Moved")
    with pytest.raises(UnreadableVersionError, match=rf"{file.name} cannot be read"):
        refresh()
    assert tables.current("mobilenet_features") == made


def test_missing_pictures_are_detected(
    spark: SparkSession,
    planned: tuple[TableWrite, FeaturesPlan],
    mobilenet: MobilenetModel,
    tables: Tables,
) -> None:
    write, plan = planned
    Path(plan.images.locations[1].path).unlink()
    with pytest.raises(UnreadableVersionError, match=f"{plan.images.files[1].name} cannot be read"):
        compute(spark, write, plan, mobilenet)
    assert tables.find("mobilenet_features") is None


def rewritten(write: TableWrite, file: DataFile, **columns: pa.Array) -> None:
    """A file of features with other columns."""
    with open_parquet(write.folder / file.name) as parquet:
        table = parquet.read()
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    write_file([table.cast(MOBILENET_FEATURES)], write.folder, file.name, MOBILENET_FEATURES)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"features": float_lists(np.full((10, 1280), np.nan, np.float32))},
            "rows with NaN or infinity: 10",
        ),
        ({"features": float_lists(np.ones((10, 1279), np.float32))}, "not 1,280"),
        ({"features": pa.nulls(10, pa.list_(pa.float32()))}, "rows without a vector: 10"),
        ({"model_sha256": pa.array(["another"] * 10)}, "models, but only"),
    ],
    ids=["not numbers", "too short", "none", "of another model"],
)
def test_invalid_features_are_rejected_before_the_commit_and_recomputed(
    refresh: Any,
    spark: SparkSession,
    planned: tuple[TableWrite, FeaturesPlan],
    mobilenet: MobilenetModel,
    tables: Tables,
    columns: dict[str, pa.Array],
    said: str,
) -> None:
    write, plan = planned
    new = compute(spark, write, plan, mobilenet)
    rewritten(write, new[0], **columns)
    with pytest.raises(AuditError, match=said):
        incremental.audit(lambda: spark, plan, new, write)
    assert tables.find("mobilenet_features") is None
    _, made = refresh()
    assert made.rows == 40
    assert made.typed(FeaturesStatistics).vectors.not_finite == 0


def test_identical_vectors_are_rejected_before_the_commit_and_recomputed(
    refresh: Any,
    spark: SparkSession,
    planned: tuple[TableWrite, FeaturesPlan],
    mobilenet: MobilenetModel,
    tables: Tables,
) -> None:
    write, plan = planned
    new = compute(spark, write, plan, mobilenet)
    for file in new:
        rewritten(write, file, features=float_lists(np.ones((file.rows, 1280), np.float32)))
    with pytest.raises(AuditError, match="all 40 images have the same vector"):
        incremental.audit(lambda: spark, plan, new, write)
    assert tables.find("mobilenet_features") is None
    _, made = refresh()
    vectors = made.typed(FeaturesStatistics).vectors
    assert vectors.smallest_norm != vectors.largest_norm


def test_rows_that_are_missing_are_refused_before_the_commit(
    spark: SparkSession,
    planned: tuple[TableWrite, FeaturesPlan],
    mobilenet: MobilenetModel,
) -> None:
    write, plan = planned
    new = compute(spark, write, plan, mobilenet)
    with pytest.raises(AuditError, match="30 rows were written, 40 were expected"):
        incremental.audit(lambda: spark, plan, new[1:], write)


def test_without_pictures_there_are_no_features(refresh: Any, source: Path) -> None:
    shutil.rmtree(source)
    source.mkdir()
    (source / "1.jpg").write_bytes(b"no picture")
    _, made = refresh()
    assert (made.rows, made.files) == (0, ())
    (source / "1.jpg").write_bytes(b"another one")
    plan, again = refresh()
    assert plan.is_empty and again == made
