"""PCA's sums are updated for images that came or went, to what summing up all again gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.features import incremental
from spark_src.io.locations import Location
from spark_src.pca import files as pca_files
from spark_src.pca import fit as pca_spark
from spark_src.pca.fit import Earlier, Fit, fit_version
from spark_src.pca.model import Sums
from spark_src.storage import Version
from spark_src.tables.vector_files import VECTORS_PER_BLOCK, in_tasks

Indexed = Callable[[list[int]], Version]


@pytest.fixture
def indexed(store_features: Callable[..., Version]) -> Indexed:
    """A version that has the images of these numbers, each always with the same features."""

    def store(numbers: list[int]) -> Version:
        rows = [
            {
                "image_id": f"image {number}",
                "path": f"Training/{number:04}.jpg",
                "split": "Training",
                "features": np.random.default_rng(number).random(1280, np.float32),
            }
            for number in sorted(numbers)
        ]
        version = store_features(rows)
        index = pd.DataFrame(rows)[["path", "split", "image_id"]]
        index = index.assign(orientation=1, file="part-0.parquet", row=range(len(rows)))
        pq.write_table(pa.Table.from_pandas(index), Path(version.location.path, incremental.INDEX))
        return version

    return store


def update(spark: SparkSession, before: Version, now: Version) -> Fit:
    earlier = fit_version(spark, before, 5, 0.1)
    return fit_version(spark, now, 5, 0.1, Earlier(earlier.sums, before))


def test_after_images_came_and_went_a_fit_is_that_of_all_summed_up_again(
    spark: SparkSession, indexed: Indexed
) -> None:
    before, now = indexed(list(range(60))), indexed(list(range(6, 70)))
    updated, anew = update(spark, before, now), fit_version(spark, now, 5, 0.1)
    assert updated.how == "updated for 10 images that came and 6 that went"
    assert anew.how == "all images were summed up"
    assert updated.model.images == 64
    for name in ("mean", "components", "explained_variance_ratio"):
        ours, theirs = getattr(updated.model, name), getattr(anew.model, name)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_an_update_without_a_change_reads_no_features_and_gives_the_same_to_the_bit(
    spark: SparkSession, indexed: Indexed
) -> None:
    before, now = indexed(list(range(20))), indexed(list(range(20)))
    first = fit_version(spark, before, 5, 0.1)
    for version in (before, now):
        Path(version.location.path, "part-0.parquet").unlink()
    again = fit_version(spark, now, 5, 0.1, Earlier(first.sums, before))
    assert again.model.digest == first.model.digest


def test_an_image_whose_content_changed_came_and_went(
    spark: SparkSession, indexed: Indexed
) -> None:
    before, now = indexed(list(range(20))), indexed(list(range(20)))
    file = Path(now.location.path, incremental.INDEX)
    index = pq.read_table(file).to_pandas()
    index.loc[3, "image_id"] = "another image"
    pq.write_table(pa.Table.from_pandas(index), file)
    assert "1 images that came and 1 that went" in update(spark, before, now).how


@pytest.mark.parametrize("now", [range(11), range(15, 60)])
def test_where_most_images_changed_all_are_summed_up(
    spark: SparkSession, indexed: Indexed, now: range
) -> None:
    assert "all images" in update(spark, indexed(list(range(20))), indexed(list(now))).how


def test_sums_of_other_images_than_the_index_names_are_not_updated(
    spark: SparkSession, indexed: Indexed
) -> None:
    before = indexed(list(range(20)))
    other = fit_version(spark, indexed(list(range(19))), 5, 0.1)
    assert "all images" in fit_version(spark, before, 5, 0.1, Earlier(other.sums, before)).how


def test_features_without_an_index_are_summed_up(
    spark: SparkSession, store_features: Callable[..., Version], indexed: Indexed
) -> None:
    now = indexed(list(range(20)))
    rows = pq.read_table(Path(now.location.path, "part-0.parquet")).to_pylist()
    assert "all images" in update(spark, store_features(rows), now).how


def test_sums_are_the_same_to_the_bit_however_many_tasks_share_them(
    spark: SparkSession,
    store_features: Callable[..., Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = np.random.default_rng(3).random((VECTORS_PER_BLOCK * 3 + 100, 1280), np.float32)
    version = store_features([{"features": v} for v in vectors], 1, VECTORS_PER_BLOCK)
    found = []
    for tasks in (1, 2, 4):
        monkeypatch.setattr(pca_spark, "in_tasks", partial(in_tasks, tasks=tasks))
        found.append(pca_spark.sums_of_files(spark, version.location, None))
    for other in found[1:]:
        assert (other.gram == found[0].gram).all()
        assert (other.total == found[0].total).all()


def test_sums_that_were_added_can_be_taken_away_to_the_last_bit() -> None:
    random = np.random.default_rng(4)
    one, other = (Sums.of(random.random((30, 1280), np.float32) * 6) for _ in range(2))
    again = one + other - other
    assert (again.gram == one.gram).all()
    assert again.images == 30


def test_saved_sums_are_loaded_as_they_were(tmp_path: Path) -> None:
    folder = Location.parse(str(tmp_path))
    sums = Sums.of(np.random.default_rng(5).random((30, 1280), np.float32))
    pca_files.save_sums(sums, folder)
    loaded = pca_files.load_sums(folder)
    assert loaded.images == 30
    assert (loaded.gram == sums.gram).all()
    Path(tmp_path, pca_files.SUMS).write_bytes(b"no archive")
    with pytest.raises(UnreadableVersionError, match=r"sums\.npz cannot be read"):
        pca_files.load_sums(folder)
