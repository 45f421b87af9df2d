"""Features are Keras's, whatever the tasks and batches they are computed in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark import Accumulator, Broadcast
from pyspark.sql import DataFrame, SparkSession

from spark_src.features import inference as features_module
from spark_src.features.inference import Engine, engine_of_this_worker, featurizer
from spark_src.features.model import MobilenetModel, keras_model
from spark_src.images.preprocess import model_input
from spark_src.io.locations import Location
from spark_src.tables.vectors import float_lists


@pytest.fixture(scope="module")
def model(spark: SparkSession, mobilenet: MobilenetModel) -> Broadcast[bytes]:
    return spark.sparkContext.broadcast(mobilenet.content)


@pytest.fixture(scope="module")
def stored(sample_features: Location) -> dict[str, bytes]:
    """The sample's features by path, as bytes: equal only where every bit is."""
    return by_path(pq.read_table(sample_features.path).to_pylist())


@pytest.fixture
def engine(mobilenet: MobilenetModel) -> Engine:
    return Engine(mobilenet.content)


def by_path(rows: Iterable[dict[str, object]]) -> dict[str, bytes]:
    return {str(row["path"]): np.array(row["features"], np.float32).tobytes() for row in rows}


def computed(table: DataFrame) -> dict[str, bytes]:
    return by_path(row.asDict() for row in table.collect())


def featurize(
    images: DataFrame, model: Broadcast[bytes], done: Accumulator[int] | None = None
) -> DataFrame:
    work = featurizer(model, "digest", done)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch, features in work(batches):
            columns = {"path": batch["path"], "features": float_lists(features)}
            yield pa.RecordBatch.from_pydict(columns)

    return images.mapInArrow(run, "path string, features array<float>")


def some(images: DataFrame) -> DataFrame:
    return images.where("split = 'Test' and label <> 'Cherry 2'")


def noise(count: int) -> NDArray[np.float32]:
    shape = (count, 224, 224, 3)
    return np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)


def test_features_of_real_pictures_are_keras_features(
    sample: Path, sample_features: Location, weights: Path
) -> None:
    from tensorflow.keras.applications.mobilenet_v2 import preprocess_input

    rows = sorted(pq.read_table(sample_features.path).to_pylist(), key=lambda row: row["image_id"])
    chosen = rows[:32]
    pictures = [Image.open(sample / row["path"]).convert("RGB") for row in chosen]
    pixels = np.stack([np.array(picture.resize((224, 224), 3)) for picture in pictures])
    keras, _ = keras_model(Location.parse(str(weights)))
    expected = np.asarray(keras(preprocess_input(pixels.astype(np.float32))))
    found = np.array([row["features"] for row in chosen])
    assert len({row["label"] for row in chosen}) == 3
    assert np.ptp(expected, axis=0).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("tasks", [1, 7])
def test_features_are_the_same_to_the_bit_however_the_pictures_are_spread(
    spark: SparkSession,
    sample_images: Location,
    model: Broadcast[bytes],
    stored: dict[str, bytes],
    tasks: int,
) -> None:
    images = some(spark.read.parquet(sample_images.hadoop)).repartition(tasks)
    found = computed(featurize(images, model))
    assert len(found) == 40
    assert found == {path: stored[path] for path in found}


def test_features_are_the_same_to_the_bit_in_batches_of_an_odd_size(
    spark: SparkSession, sample_images: Location, model: Broadcast[bytes], stored: dict[str, bytes]
) -> None:
    own = spark.newSession()
    own.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    images = some(own.read.parquet(sample_images.hadoop)).coalesce(1)
    found = computed(featurize(images, model))
    assert found == {path: stored[path] for path in found}


def test_every_picture_is_counted_as_done(
    spark: SparkSession, sample_images: Location, model: Broadcast[bytes]
) -> None:
    done = spark.sparkContext.accumulator(0)
    images = some(spark.read.parquet(sample_images.hadoop)).repartition(3)
    featurize(images, model, done).collect()
    assert done.value == 40


def test_the_orientation_of_a_row_is_applied(
    spark: SparkSession, sample_images: Location, model: Broadcast[bytes]
) -> None:
    images = spark.read.parquet(sample_images.hadoop).where("split = 'Test'").limit(1)
    turned = images.drop("orientation").selectExpr("*", "3 as orientation")
    upright, upside_down = (computed(featurize(table, model)) for table in (images, turned))
    assert upright.keys() == upside_down.keys()
    assert upright != upside_down


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_picture_has_the_same_features_alone_and_in_company(engine: Engine, count: int) -> None:
    pictures = noise(count)
    together = engine.features(pictures)
    alone = np.concatenate([engine.features(pictures[[index]]) for index in range(count)])
    assert together.shape == (count, 1280)
    np.testing.assert_array_equal(together, alone)


def test_features_once_given_are_not_overwritten_by_the_next_pictures(engine: Engine) -> None:
    first = engine.features(noise(2))
    kept = first.copy()
    engine.features(noise(4)[2:])
    np.testing.assert_array_equal(first, kept)


def test_a_worker_loads_the_engine_once_and_keeps_it_over_jobs(
    spark: SparkSession, model: Broadcast[bytes]
) -> None:
    def count_uses(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        engine = engine_of_this_worker(model, "loaded once")
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


def test_another_model_takes_the_place_of_the_one_before(
    model: Broadcast[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "_engines", {})
    first = engine_of_this_worker(model, "one")
    assert engine_of_this_worker(model, "one") is first
    assert engine_of_this_worker(model, "two") is not first
    assert engine_of_this_worker(model, "one") is not first


@pytest.mark.parametrize("shape", [(3, 4), (1, 1280), (0, 5)])
def test_a_matrix_becomes_a_list_a_row(shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    assert float_lists(values).to_pylist() == values.tolist()
    assert float_lists(np.asfortranarray(values)).to_pylist() == values.tolist()


def test_different_pictures_have_different_features(engine: Engine, sample: Path) -> None:
    files = sorted((sample / "Test" / "Cherry 2").iterdir())[:2]
    one, other = engine.features(np.stack([model_input(file.read_bytes()) for file in files]))
    assert np.abs(one - other).max() > 0.1
