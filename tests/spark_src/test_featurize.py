"""Features equal those of Keras, regardless of files and batches."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark import Broadcast
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.features import incremental
from spark_src.features import inference as features_module
from spark_src.features.inference import Engine, compute_features, worker_engine
from spark_src.features.model import MobilenetModel, keras_model
from spark_src.features.plan import plan_features
from spark_src.images import plan as ingest_plan
from spark_src.images.preprocess import model_input
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot
from spark_src.tables.vectors import float_lists
from tests.pipeline import featurize, ingest, rows_by_path, table_of, tables_in


@pytest.fixture(scope="module")
def model(spark: SparkSession, mobilenet: MobilenetModel) -> Broadcast[bytes]:
    return spark.sparkContext.broadcast(mobilenet.content)


@pytest.fixture(scope="module")
def stored(sample_version: Snapshot) -> dict[str, bytes]:
    """The sample's features by path, as bytes, for an exact comparison."""
    return bytes_by_path(sample_version)


@pytest.fixture(scope="module")
def some(sample_raw: Snapshot) -> pa.RecordBatch:
    """40 of the sample's pictures."""
    rows = table_of(sample_raw).to_pylist()
    chosen = [row for row in rows if row["split"] == "Test" and row["label"] != "Cherry 2"]
    schema = table_of(sample_raw).schema
    return pa.RecordBatch.from_pylist(chosen, schema)


@pytest.fixture
def engine(mobilenet: MobilenetModel) -> Engine:
    return Engine(mobilenet.content)


def bytes_by_path(features: Snapshot) -> dict[str, bytes]:
    rows = rows_by_path(features).values()
    return {row["path"]: np.array(row["features"], np.float32).tobytes() for row in rows}


def noise(count: int) -> NDArray[np.float32]:
    shape = (count, 224, 224, 3)
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def test_features_of_real_pictures_are_keras_features(
    sample: Path, sample_version: Snapshot, weights: Path
) -> None:
    from tensorflow.keras.applications.mobilenet_v2 import preprocess_input

    rows = sorted(table_of(sample_version).to_pylist(), key=lambda row: row["image_id"])
    chosen = rows[:32]
    pictures = [Image.open(sample / row["path"]).convert("RGB") for row in chosen]
    pixels = np.stack([np.array(picture.resize((224, 224), 3)) for picture in pictures])
    keras, _ = keras_model(Location.parse(str(weights)))
    expected = np.asarray(keras(preprocess_input(pixels.astype(np.float32))))
    found = np.array([row["features"] for row in chosen])
    assert len({row["label"] for row in chosen}) == 3
    assert np.ptp(expected, axis=0).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("rows_per_file", "files"), [(40, 1), (6, 7)])
def test_features_do_not_depend_on_the_distribution_of_pictures(
    spark: SparkSession,
    sample: Path,
    mobilenet: MobilenetModel,
    stored: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows_per_file: int,
    files: int,
) -> None:
    monkeypatch.setattr(ingest_plan, "MIN_ROWS", rows_per_file)
    for label in ("Apple Golden 1", "Tomato 2"):
        shutil.copytree(sample / "Test" / label, tmp_path / "in" / "Test" / label)
    tables = tables_in(tmp_path / "storage")
    raw = ingest(spark, tables, tmp_path / "in").raw
    _, features = featurize(spark, tables, raw, mobilenet)
    found = bytes_by_path(features)
    assert (len(found), len(features.files)) == (40, files)
    assert found == {path: stored[path] for path in found}


@pytest.mark.parametrize("size", [1, 3, 40])
def test_features_are_the_same_to_the_bit_in_batches_of_any_size(
    some: pa.RecordBatch, engine: Engine, stored: dict[str, bytes], size: int
) -> None:
    batches = [some.slice(start, size) for start in range(0, 40, size)]
    features = np.concatenate([compute_features(batch, engine) for batch in batches])
    paths = some["path"].to_pylist()
    assert [row.tobytes() for row in features] == [stored[path] for path in paths]


def test_every_computed_picture_is_counted(
    spark: SparkSession, sample_raw: Snapshot, mobilenet: MobilenetModel, tmp_path: Path
) -> None:
    write = tables_in(tmp_path).begin("mobilenet_features", "run-1")
    done = spark.sparkContext.accumulator(0)
    plan = plan_features(write, sample_raw, mobilenet.sha256)
    incremental.compute(lambda: spark, plan, mobilenet, write.folder, lambda: done)
    assert done.value == plan.n_computed == 240


def test_the_orientation_of_a_row_is_applied(some: pa.RecordBatch, engine: Engine) -> None:
    one = some.slice(0, 1)
    column = one.schema.get_field_index("orientation")
    turned = one.set_column(column, "orientation", pa.array([3], pa.int32()))
    assert (compute_features(one, engine) != compute_features(turned, engine)).any()


def test_a_stored_picture_that_cannot_be_decoded_is_named_with_the_remedy(
    some: pa.RecordBatch, engine: Engine
) -> None:
    column = some.schema.get_field_index("content")
    damaged = some.slice(0, 1).set_column(column, "content", pa.array([b"\xff\xd8damaged"]))
    with pytest.raises(UnreadableVersionError, match="--select raw_images") as caught:
        compute_features(damaged, engine)
    assert some["path"][0].as_py() in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_picture_has_the_same_features_alone_and_in_a_batch(engine: Engine, count: int) -> None:
    pictures = noise(count)
    together = engine.features(pictures)
    alone = np.concatenate([engine.features(pictures[[index]]) for index in range(count)])
    assert together.shape == (count, 1280)
    np.testing.assert_array_equal(together, alone)


def test_returned_features_are_not_overwritten_by_later_calls(engine: Engine) -> None:
    first = engine.features(noise(2))
    kept = first.copy()
    engine.features(noise(4)[2:])
    np.testing.assert_array_equal(first, kept)


def test_a_worker_loads_the_engine_once_and_keeps_it_over_jobs(
    spark: SparkSession, model: Broadcast[bytes]
) -> None:
    def count_uses(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        engine = worker_engine(model, "loaded once")
        engine.uses = getattr(engine, "uses", 0) + 1  # type: ignore[attr-defined]
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "uses": [engine.uses]})  # type: ignore[attr-defined]

    tasks = spark.range(8).repartition(4).mapInArrow(count_uses, "pid long, uses long")
    seen = [(row.pid, row.uses) for _ in range(2) for row in tasks.collect()]
    workers = Counter(pid for pid, _ in seen)
    assert len(seen) == 8
    assert os.getpid() not in workers
    assert len(workers) < len(seen)
    assert sorted(seen) == [
        (pid, use) for pid in sorted(workers) for use in range(1, workers[pid] + 1)
    ]


def test_another_model_replaces_the_loaded_one(
    model: Broadcast[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "_engines", {})
    first = worker_engine(model, "one")
    assert worker_engine(model, "one") is first
    assert worker_engine(model, "two") is not first
    assert worker_engine(model, "one") is not first


@pytest.mark.parametrize("shape", [(3, 4), (1, 1280), (0, 5)])
def test_a_matrix_becomes_one_list_per_row(shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    assert float_lists(values).to_pylist() == values.tolist()
    assert float_lists(np.asfortranarray(values)).to_pylist() == values.tolist()


def test_different_pictures_have_different_features(engine: Engine, sample: Path) -> None:
    files = sorted((sample / "Test" / "Cherry 2").iterdir())[:2]
    one, other = engine.features(np.stack([model_input(file.read_bytes()) for file in files]))
    assert np.abs(one - other).max() > 0.1
