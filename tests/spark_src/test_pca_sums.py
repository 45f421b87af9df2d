"""PCA's sums are exact: files are added and subtracted without rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.errors import PcaError, UnreadableVersionError
from spark_src.pca import sums as pca_sums
from spark_src.pca.files import StoredSums
from spark_src.pca.model import UNIT, Sums
from spark_src.pca.sums import SumsUpdate, sum_files, update_sums
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import ROWS_PER_BLOCK, read_columns
from spark_src.tables.vectors import FEATURES
from tests.spark_src.vectors import Row, VectorStorage, features_of, image, images

Store = Callable[..., Snapshot]


@pytest.fixture
def storage(spark: SparkSession, tmp_path: Path) -> VectorStorage:  # instead of conftest's
    """A storage with two feature files of 20 images each, and one of the split Test."""
    begun = VectorStorage.in_folder(spark, tmp_path)
    begun.features(
        {"a": images(range(20)), "b": images(range(20, 40)), "c": images(range(9), "Test")}
    )
    return begun


def sums_of(spark: SparkSession, version: Snapshot, split: str | None) -> Sums:
    return sum_files(lambda: spark, version.locations, split)


def update(storage: VectorStorage, earlier: StoredSums | None = None) -> SumsUpdate:
    features = storage.tables.current("mobilenet_features")
    return update_sums(lambda: storage.spark, features, earlier)


def new_paths(storage: VectorStorage, update: SumsUpdate) -> list[str]:
    """Paths of the images that the update reports as new."""
    assert update.new_images is not None
    features = storage.tables.current("mobilenet_features")
    rows = read_columns(features.locations, ["path"]).to_pylist()
    places = {(row["file"], row["row"]): row["path"] for row in rows}
    return sorted(places[row["file"], row["row"]] for row in update.new_images.to_pylist())


def random_vectors(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).random((count, FEATURES), np.float32)


def of_split(split: str | None, vectors: NDArray[np.float32]) -> list[Row]:
    return [{"split": split, "features": vector} for vector in vectors]


def assert_sums_of(sums: Sums, vectors: NDArray[np.floating[Any]]) -> None:
    features = vectors.astype(np.float64)
    assert sums.n_images == len(features)
    np.testing.assert_allclose(sums.total * UNIT, features.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(sums.gram * UNIT, features.T @ features, rtol=1e-9, atol=1e-9)


def assert_same_to_the_bit(one: Sums, other: Sums) -> None:
    assert one.n_images == other.n_images
    np.testing.assert_array_equal(one.total, other.total)
    np.testing.assert_array_equal(one.gram, other.gram)


@pytest.mark.parametrize("split", ["Training", "Test", None])
def test_sums_cover_the_requested_split_or_all_images(
    spark: SparkSession, sample_version: Snapshot, split: str | None
) -> None:
    rows = read_columns(sample_version.locations, ["split", "features"]).to_pylist()
    wanted = [row["features"] for row in rows if split in (None, row["split"])]
    assert len(wanted) == {"Training": 180, "Test": 60, None: 240}[split]
    assert_sums_of(sums_of(spark, sample_version, split), np.array(wanted))


@pytest.mark.parametrize(("files", "rows_per_group"), [(1, 7), (5, 100), (3, 4)])
def test_every_image_is_summed_once_for_any_files_and_row_groups(
    spark: SparkSession, store_features: Store, files: int, rows_per_group: int
) -> None:
    vectors = random_vectors(40)
    mixed = of_split("Test", random_vectors(9)) + of_split("Training", vectors)
    version = store_features(mixed, files, rows_per_group)
    assert_sums_of(sums_of(spark, version, "Training"), vectors)


def test_a_row_group_of_several_blocks_is_summed_completely(
    spark: SparkSession, store_features: Store
) -> None:
    vectors = random_vectors(ROWS_PER_BLOCK + 10)
    assert_sums_of(sums_of(spark, store_features(of_split(None, vectors)), None), vectors)


def test_sums_do_not_depend_on_the_number_of_tasks(
    spark: SparkSession, store_features: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store_features(of_split(None, random_vectors(ROWS_PER_BLOCK + 900)), files=5)
    found = []
    for tasks in (1, 2, 4):
        monkeypatch.setattr(pca_sums, "MAX_TASKS", tasks)
        found.append(sums_of(spark, version, None))
    for other in found[1:]:
        assert_same_to_the_bit(other, found[0])


def test_images_without_a_split_are_not_training_images(
    spark: SparkSession, store_features: Store
) -> None:
    training, loose = random_vectors(8), random_vectors(3)
    version = store_features(of_split("Training", training) + of_split(None, loose))
    assert_sums_of(sums_of(spark, version, "Training"), training)


def test_files_outside_the_table_are_ignored(spark: SparkSession, store_features: Store) -> None:
    version = store_features(of_split("Training", random_vectors(8)))
    for name in ("_SUCCESS", ".part-0.parquet.crc", "part-9.parquet"):
        Path(version.location.path, name).write_bytes(b"no Parquet")
    assert update_sums(lambda: spark, version, None).stored.sums.n_images == 8


@pytest.mark.parametrize("files", [0, 1])
def test_sums_of_an_empty_table_are_zero(
    spark: SparkSession, store_features: Store, files: int
) -> None:
    assert_sums_of(sums_of(spark, store_features([], files), None), np.zeros((0, FEATURES)))


def test_vectors_of_another_length_are_counted_over_all_files(
    spark: SparkSession, store_features: Store
) -> None:
    short = [{"split": "Training", "features": [1.0] * (FEATURES - 1)}] * 2
    version = store_features(of_split("Training", random_vectors(4)) + short, files=2)
    with pytest.raises(PcaError, match=r"^2 feature vectors do not have 1,280 numbers"):
        sums_of(spark, version, "Training")


def test_a_damaged_file_is_named(storage: VectorStorage) -> None:
    file = storage.tables.current("mobilenet_features").locations[1]
    content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    file.write(bytes(content))
    with pytest.raises(UnreadableVersionError, match=r"b\.parquet cannot be read"):
        update(storage)


def test_added_sums_can_be_subtracted_exactly() -> None:
    random = np.random.default_rng(4)
    one, other = (Sums.from_features(random.random((30, FEATURES)) * 6) for _ in range(2))
    assert_same_to_the_bit(one + other - other, one)


def test_adding_and_removing_files_restores_the_sums_exactly(
    storage: VectorStorage,
) -> None:
    first = update(storage)
    storage.features({"d": images(range(50, 60)), "e": images(range(60, 63), "Test")}, ["b"])
    second = update(storage, first.stored)
    assert second.description == "updated for 10 added and 20 removed images"
    assert second.stored.sums.n_images == 30
    storage.features({"b2": images(range(20, 40))}, ["d", "e"])
    third = update(storage, second.stored)
    assert third.stored.files == {"a.parquet", "b2.parquet", "c.parquet"}
    assert_same_to_the_bit(third.stored.sums, first.stored.sums)


def test_updated_sums_equal_recomputed_sums(storage: VectorStorage) -> None:
    first = update(storage)
    storage.features({"d": images(range(50, 60))}, ["b"])
    updated = update(storage, first.stored)
    assert_same_to_the_bit(updated.stored.sums, update(storage).stored.sums)
    assert_sums_of(updated.stored.sums, features_of(images([*range(20), *range(50, 60)])))


def test_an_update_without_a_change_reads_no_features_and_starts_no_spark(
    storage: VectorStorage,
) -> None:
    first = update(storage)
    features = storage.tables.current("mobilenet_features")
    for file in features.locations:
        Path(file.path).unlink()
    again = update_sums(lambda: pytest.fail("Spark was started"), features, first.stored)
    assert again.description == "no image was added or removed"
    assert (again.new_images.num_rows, again.n_removed) == (0, 0)
    assert_same_to_the_bit(again.stored.sums, first.stored.sums)


def test_only_added_and_removed_files_are_read(storage: VectorStorage) -> None:
    first = update(storage)
    features = storage.features({"d": images(range(50, 60))})
    Path(features.location.path, "a.parquet").unlink()
    assert update(storage, first.stored).stored.sums.n_images == 50


def test_a_changed_image_counts_as_added_and_removed(
    storage: VectorStorage,
) -> None:
    first = update(storage)
    changed = [image(20, image_id="another image"), image(21, orientation=6)]
    storage.features({"b2": [*changed, *images(range(22, 40))]}, ["b"])
    found = update(storage, first.stored)
    assert found.description == "updated for 2 added and 2 removed images"
    assert new_paths(storage, found) == ["Training/0020.jpg", "Training/0021.jpg"]


def test_images_in_a_rewritten_file_are_not_new(storage: VectorStorage) -> None:
    first = update(storage)
    storage.features({"b2": images([*range(39, 20, -1), 70])}, ["b"])
    found = update(storage, first.stored)
    assert (new_paths(storage, found), found.n_removed) == (["Training/0070.jpg"], 1)


def test_images_of_other_splits_are_not_counted(storage: VectorStorage) -> None:
    first = update(storage)
    storage.features({"d": images(range(50, 60), "Test")}, ["c"])
    found = update(storage, first.stored)
    assert (new_paths(storage, found), found.n_removed) == ([], 0)
    assert_same_to_the_bit(found.stored.sums, first.stored.sums)


def test_if_most_files_changed_all_images_are_summed_and_new_ones_reported(
    storage: VectorStorage,
) -> None:
    first = update(storage)
    storage.features({str(n): images([100 + n]) for n in range(9)}, ["b"])
    found = update(storage, first.stored)
    assert found.description == "all images were summed up"
    assert new_paths(storage, found) == [f"Training/010{n}.jpg" for n in range(9)]
    assert found.n_removed == 20
    assert found.stored.sums.n_images == 29


def test_sums_of_another_split_are_not_updated(storage: VectorStorage) -> None:
    first = update(storage)
    storage.features({"d": images(range(40), "Other")}, ["a", "b"])
    found = update(storage, first.stored)
    assert found.description == "all images were summed up"
    assert (found.stored.split, found.stored.sums.n_images) == (None, 49)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, damage], ids=["gone", "damaged"])
def test_if_a_removed_file_cannot_be_read_all_images_are_summed(
    storage: VectorStorage, harm: Callable[[Path], None]
) -> None:
    first = update(storage)
    now = storage.features({"d": images(range(50, 60))}, ["b"])
    harm(Path(now.location.path, "b.parquet"))
    found = update(storage, first.stored)
    assert found.description == "all images were summed up"
    assert_same_to_the_bit(found.stored.sums, update(storage).stored.sums)
    if harm is Path.unlink:
        assert found.new_images is None and found.n_removed is None
