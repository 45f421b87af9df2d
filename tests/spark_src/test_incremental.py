"""New features cost what new pictures cost: the rest is carried over, or resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_src import feature_parts
from spark_src.errors import StorageError, UnreadableVersionError
from spark_src.features import incremental
from spark_src.features.incremental import Plan
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.spark.session import read_table, write_table
from spark_src.storage import Storage, Version
from spark_src.tables.schemas import MOBILENET_FEATURES, require_columns

Images = Callable[[DataFrame], Version]

FEW = "split = 'Test' and label <> 'Cherry 2'"
"""40 of the sample's 240 pictures."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(Location.parse(str(tmp_path / "storage")))


@pytest.fixture
def images(storage: Storage) -> Images:
    """Publish a table as the current raw_images."""

    def publish(table: DataFrame) -> Version:
        draft = storage.begin("raw_images", "run-1")
        write_table(table, "raw_images", draft.location)
        return storage.publish(draft, {"rows": table.count()})

    return publish


@pytest.fixture
def few(spark: SparkSession, sample_images: Location) -> DataFrame:
    return read_table(spark, sample_images).where(FEW)


@pytest.fixture
def make(
    spark: SparkSession, storage: Storage, mobilenet: MobilenetModel
) -> Callable[[Version], tuple[Plan, Version]]:
    """Make features of a version of raw_images current, as the asset does."""

    def make(raw: Version) -> tuple[Plan, Version]:
        plan = incremental.plan(storage, raw, mobilenet.sha256)
        draft = storage.begin("mobilenet_features", "run-1")
        incremental.make(spark, plan, mobilenet, draft.location)
        facts = {"rows": raw.rows, "model": mobilenet.sha256, "pixels": PIXELS}
        version = storage.publish(draft, facts)
        plan.forget_parts()
        return plan, version

    return make


Make = Callable[[Version], tuple[Plan, Version]]


def table_of(location: Location) -> pa.Table:
    return pq.read_table(location.path)


def of_the_sample(features: Location, paths: list[str]) -> list[dict[str, object]]:
    rows = {row["path"]: row for row in table_of(features).to_pylist()}
    return [rows[path] for path in paths]


def test_the_first_features_are_computed_and_the_same_again_carried_over(
    few: DataFrame, images: Images, make: Make, sample_features: Location
) -> None:
    raw = images(few)
    first, made = make(raw)
    again, same = make(raw)
    assert first.facts == {"featurized": 40, "carried_over": 0, "resumed": 0}
    assert again.facts == {"featurized": 0, "carried_over": 40, "resumed": 0}
    rows = table_of(made.location).to_pylist()
    assert rows == of_the_sample(sample_features, [row["path"] for row in rows])
    assert table_of(same.location).to_pylist() == rows


def test_the_table_has_its_columns_and_its_rows_are_sorted_by_path(
    spark: SparkSession, few: DataFrame, images: Images, make: Make
) -> None:
    _, made = make(images(few))
    features = require_columns(read_table(spark, made.location), "mobilenet_features")
    keys = ["image_id", "path", "split", "label"]
    found = features.select(keys).collect()
    assert features.columns == MOBILENET_FEATURES.fieldNames()
    assert sorted(found) == sorted(few.select(keys).collect())
    assert [row.path for row in found] == sorted(row.path for row in found)


def test_new_pictures_alone_are_featurized_and_those_that_went_are_gone(
    few: DataFrame, images: Images, make: Make, sample_features: Location
) -> None:
    paths = sorted(row.path for row in few.select("path").collect())
    make(images(few.where(F.col("path") != paths[0])))
    plan, made = make(images(few.where(F.col("path") != paths[-1])))
    assert plan.missing == [paths[0]]
    assert plan.facts == {"featurized": 1, "carried_over": 38, "resumed": 0}
    assert table_of(made.location).to_pylist() == of_the_sample(sample_features, paths[:-1])


def test_a_picture_that_moved_is_not_computed_again(
    few: DataFrame, images: Images, make: Make
) -> None:
    make(images(few))
    plan, made = make(images(few.withColumn("path", F.concat(F.lit("moved/"), "path"))))
    assert plan.missing == []
    assert all(path.startswith("moved/") for path in table_of(made.location)["path"].to_pylist())


def test_the_same_picture_under_two_paths_is_computed_once_and_has_two_rows(
    few: DataFrame, images: Images, make: Make
) -> None:
    twice = few.unionByName(few.withColumn("path", F.concat(F.lit("copy/"), "path")))
    plan, made = make(images(twice))
    assert len(plan.missing) == 40
    rows = table_of(made.location).to_pylist()
    values = {row["path"]: row["features"] for row in rows}
    assert len(rows) == 80
    assert all(values[f"copy/{path}"] == values[path] for path in values if path[:5] != "copy/")


def test_a_picture_that_was_turned_is_computed_again(
    few: DataFrame, images: Images, make: Make
) -> None:
    one = few.orderBy("path").limit(1)
    _, upright = make(images(one))
    plan, turned = make(images(one.withColumn("orientation", F.lit(3))))
    assert len(plan.missing) == 1
    assert table_of(turned.location)["features"] != table_of(upright.location)["features"]


def test_features_of_another_model_are_computed_again_and_the_plan_says_so(
    few: DataFrame, images: Images, make: Make, storage: Storage
) -> None:
    raw = images(few)
    make(raw)
    plan = incremental.plan(storage, raw, "another model's digest")
    assert len(plan.missing) == 40
    assert "was made by another model" in str(plan)


def test_features_of_other_pixels_are_computed_again_and_the_plan_says_so(
    few: DataFrame,
    images: Images,
    make: Make,
    storage: Storage,
    mobilenet: MobilenetModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = images(few)
    make(raw)
    monkeypatch.setattr(incremental, "PIXELS", "other pixels")
    plan = incremental.plan(storage, raw, mobilenet.sha256)
    assert len(plan.missing) == 40
    assert "saw other pixels" in str(plan)


def test_all_are_computed_again_where_that_is_asked_for(
    few: DataFrame, images: Images, make: Make, storage: Storage, mobilenet: MobilenetModel
) -> None:
    raw = images(few)
    make(raw)
    assert len(incremental.plan(storage, raw, mobilenet.sha256, recompute=True).missing) == 40


def test_what_an_interrupted_run_had_finished_is_not_done_again(
    few: DataFrame,
    images: Images,
    make: Make,
    storage: Storage,
    sample_features: Location,
    mobilenet: MobilenetModel,
) -> None:
    raw = images(few)
    paths = sorted(row.path for row in few.select("path").collect())
    done = storage.prefix("mobilenet_features") / "parts"
    done /= feature_parts.recipe(mobilenet.sha256, PIXELS)
    done.make_folder()
    finished = table_of(sample_features).select(["image_id", "path", "features"])
    finished = finished.filter(pa.compute.is_in(finished["path"], pa.array(paths[:30])))
    ones = pa.array([1] * 30, pa.int32())
    part = pa.table([finished["image_id"], ones, finished["features"]], feature_parts.SCHEMA.names)
    pq.write_table(part, f"{done.path}/part-of-a-killed-run.parquet")
    Path(done.path, ".part-half-written.parquet").write_bytes(b"PAR1 and no more")
    plan, made = make(raw)
    assert plan.missing == paths[30:]
    assert plan.facts == {"featurized": 10, "carried_over": 0, "resumed": 30}
    assert table_of(made.location).to_pylist() == of_the_sample(sample_features, paths)
    assert not (storage.prefix("mobilenet_features") / "parts").exists()


def test_a_damaged_file_of_the_current_version_is_named_and_not_carried_over(
    few: DataFrame, images: Images, make: Make
) -> None:
    raw = images(few)
    _, made = make(raw)
    file = Path(made.location.path, "part-00000.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(Exception, match=r"part-00000.parquet cannot be read") as failure:
        make(raw)
    assert UnreadableVersionError.__name__ in str(failure.value)


def test_pictures_that_are_gone_when_they_are_featurized_are_missed(
    spark: SparkSession,
    few: DataFrame,
    images: Images,
    storage: Storage,
    mobilenet: MobilenetModel,
    tmp_path: Path,
) -> None:
    raw = images(few.repartition(2))
    plan = incremental.plan(storage, raw, mobilenet.sha256)
    fewer = images(few.limit(30))
    shutil.rmtree(raw.location.path)
    shutil.copytree(fewer.location.path, raw.location.path)
    with pytest.raises(StorageError, match=r"10 images of .* were not featurized"):
        incremental.make(spark, plan, mobilenet, Location.parse(str(tmp_path / "made")))


def test_no_pictures_give_no_features(
    spark: SparkSession, few: DataFrame, images: Images, make: Make
) -> None:
    _, made = make(images(few.limit(0)))
    assert read_table(spark, made.location).count() == 0
