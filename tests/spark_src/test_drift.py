"""New images are compared with the fitted ones; random variation is not reported as drift."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.pca import drift, fit
from spark_src.pca.drift import chance
from spark_src.pca.fit import Fit
from spark_src.pca.refit import FitSettings
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import read_columns
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics
from tests.spark_src.vectors import Row, VectorStorage

COMPONENTS = 5
BASIS = np.linalg.qr(np.random.default_rng(9).normal(size=(1280, COMPONENTS)))[0].T
KEEP = FitSettings(COMPONENTS, 0.1, refit_share=1)
"""Settings that never refit because of new images."""


def vector(path: str, what: str) -> NDArray[np.float32]:
    """Familiar pictures vary in five directions, and a little in all."""
    random = np.random.default_rng(list(path.encode()))
    inside = random.normal(size=COMPONENTS) + (4 if what == "far" else 0)
    outside = random.normal(size=1280) * (0.1 if what == "strange" else 0.02)
    return (inside @ BASIS + outside + 3).astype(np.float32)


def row(path: str, what: str) -> Row:
    return {
        "image_id": f"{path} {what}",
        "path": path,
        "split": path.split("/", maxsplit=1)[0],
        "features": vector(path, what),
    }


def images(numbers: range, what: str = "familiar", split: str = "Training") -> list[Row]:
    return [row(f"{split}/{what} {number:04}.jpg", what) for number in numbers]


@pytest.fixture(scope="module")
def fitted_on_300(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    begun = VectorStorage.in_folder(spark, folder)
    training = {str(n): images(range(100 * n, 100 * n + 100)) for n in range(3)}
    begun.features({**training, "test": images(range(60), split="Test")})
    begun.refresh_pca(KEEP)
    return folder


@pytest.fixture
def storage(spark: SparkSession, fitted_on_300: Path, tmp_path: Path) -> VectorStorage:
    """A storage with a PCA fitted on 300 familiar images, and 60 images of another split."""
    shutil.copytree(fitted_on_300, tmp_path / "storage")
    return VectorStorage.in_folder(spark, tmp_path / "storage")


def refreshed(storage: VectorStorage, *came: list[Row], settings: FitSettings = KEEP) -> Fit:
    """PCA after these images were added, one file per list."""
    known = storage.tables.current("mobilenet_features")
    storage.features({f"came-{len(known.files)}-{n}": rows for n, rows in enumerate(came)})
    return storage.refresh_pca(settings)[0]


def measured(storage: VectorStorage, *came: list[Row]) -> DriftStatistics:
    """Drift statistics of `pca_model` after these images were added."""
    refreshed(storage, *came)
    found = model_of(storage).typed(PcaModelStatistics)
    assert found.drift is not None, found.drift_note
    return found.drift


def model_of(storage: VectorStorage) -> Snapshot:
    return storage.tables.current("pca_model")


def folder_of_model(storage: VectorStorage) -> Location:
    """The folder of the current model."""
    return model_of(storage).data_location


def paths_of(storage: VectorStorage, found: DriftStatistics) -> list[str]:
    """The images at these files and rows."""
    folder = storage.tables.current("mobilenet_features").location
    return [
        read_columns([folder / file], ["path"])["path"][number].as_py()
        for file, number, _ in found.worst
    ]


def test_images_like_the_old_ones_are_familiar(storage: VectorStorage) -> None:
    found = measured(storage, images(range(300, 340)))
    assert (found.new_images, found.compared) == (40, 40)
    assert found.familiar
    assert 0.9 < found.residual < 1.1
    assert found.shift < 0.5


def test_images_with_large_residuals_are_not_familiar(storage: VectorStorage) -> None:
    strange = images(range(10), "strange")
    found = measured(storage, images(range(300, 340)), strange)
    assert found.new_images == 50
    assert found.beyond >= 10
    assert not found.familiar
    assert sorted(paths_of(storage, found)) == [row["path"] for row in strange]
    ratios = [ratio for *_, ratio in found.worst]
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] > 2


def test_the_worst_images_are_kept_as_file_and_row_and_no_path_is_in_the_log(
    storage: VectorStorage,
) -> None:
    person = [row("photos/xaver/apple/1.jpg", "familiar"), row("Training/xaver.jpg", "strange")]
    found = measured(storage, [*images(range(300, 306)), *person])
    file, number, ratio = found.worst[0]
    assert (file, number) == ("came-4-0.parquet", 7)
    assert ratio > 2
    for asset in ("pca_model", "mobilenet_features"):
        folder = storage.tables.prefix(asset)
        files = [Location("file", info.path) for info in folder.files()]
        logged = [file.read() for file in files if file.name.endswith(".json")]
        assert logged
        assert not any(b"xaver" in content or b".jpg" in content for content in logged)
    record = storage.tables.current("pca_model").record.statistics
    assert b"jpg" not in json.dumps(record).encode()


def test_one_unlike_image_among_many_is_detected(storage: VectorStorage) -> None:
    found = measured(storage, images(range(300, 340)), images(range(1), "strange"))
    assert not found.familiar
    assert paths_of(storage, found)[0] == "Training/strange 0000.jpg"


def test_too_many_residuals_above_the_tail_threshold_are_detected(
    storage: VectorStorage,
) -> None:
    features = storage.tables.current("mobilenet_features")
    known, pca = drift.load(folder_of_model(storage)), fit.load_current(model_of(storage))
    assert known is not None
    came = pa.table({"file": pa.array([0] * 30, pa.int32()), "row": pa.array(range(30))})
    assert drift.compare(came, features, pca, known).familiar
    low = replace(known, residuals=known.residuals * 0.8)
    slight = drift.compare(came, features, pca, low)
    assert 1 < slight.worst[0][2] < drift.MAX_RESIDUAL_RATIO
    assert slight.shift < drift.MAX_SHIFT_DEVIATIONS
    assert slight.chance < drift.MIN_CHANCE
    assert not slight.familiar


def test_images_with_shifted_components_are_not_familiar(storage: VectorStorage) -> None:
    found = measured(storage, images(range(40), "far"))
    assert found.shift > drift.MAX_SHIFT_DEVIATIONS
    assert not found.familiar


def test_a_shift_alone_is_detected(storage: VectorStorage) -> None:
    features = storage.features({"far": images(range(40), "far")})
    known, pca = drift.load(folder_of_model(storage)), fit.load_current(model_of(storage))
    assert known is not None
    came = pa.table({"file": pa.array([3] * 40, pa.int32()), "row": pa.array(range(40))})
    assert features.files[3].name == "far.parquet"
    wide = replace(known, residuals=known.residuals * 1.5)
    elsewhere = drift.compare(came, features, pca, wide)
    assert (elsewhere.beyond, elsewhere.chance) == (0, 1)
    assert not elsewhere.familiar
    varied = replace(wide, deviations=wide.deviations * 4)
    assert drift.compare(came, features, pca, varied).familiar


def test_drift_is_measured_against_the_previous_fit_even_after_a_refit(
    storage: VectorStorage,
) -> None:
    found = refreshed(storage, images(range(30), "strange"))
    assert found.is_new
    known = storage.tables.current("pca_model").typed(PcaModelStatistics)
    assert known.drift is not None and not known.drift.familiar
    assert known.drift.new_images == 30


def test_after_a_refit_the_images_are_familiar(storage: VectorStorage) -> None:
    refreshed(storage, images(range(200), "strange"))
    assert measured(storage, images(range(200, 220), "strange")).familiar


def test_drift_is_measured_against_the_previous_fit_when_a_refit_is_requested(
    storage: VectorStorage,
) -> None:
    found = refreshed(storage, images(range(30), "strange"), settings=replace(KEEP, refit=True))
    assert "a new fit was requested" in found.description
    assert found.drift is not None and not found.drift.familiar


def test_an_image_with_new_content_under_an_old_path_is_new(storage: VectorStorage) -> None:
    changed = [row(f"Training/familiar {number:04}.jpg", "strange") for number in range(4)]
    storage.features({"changed": [*changed, *images(range(4, 100))]}, ["0"])
    found, _ = storage.refresh_pca(KEEP)
    assert found.drift is not None
    assert found.drift.new_images == 4
    assert sorted(paths_of(storage, found.drift)) == sorted(row["path"] for row in changed)


def test_the_reference_uses_held_out_images(spark: SparkSession, tmp_path: Path) -> None:
    """Residuals of fitted images are too small, especially with few images."""
    few = VectorStorage.in_folder(spark, tmp_path)
    few.features({"all": images(range(120))})
    fitted, _ = few.refresh_pca(KEEP)
    found = drift.load(folder_of_model(few))
    assert found is not None and len(found.residuals) == 12

    def residuals(numbers: range) -> NDArray[np.float64]:
        vectors = np.stack([image["features"] for image in images(numbers)])
        return drift._components_and_residuals(vectors, fitted.model)[1]

    own, others = residuals(range(120)), residuals(range(120, 500))
    distance = abs(np.median(found.residuals) - np.median(others))
    assert distance < abs(np.median(own) - np.median(others))


def test_without_new_images_or_an_earlier_fit_there_is_nothing_to_compare(
    storage: VectorStorage,
) -> None:
    known = storage.tables.current("pca_model").typed(PcaModelStatistics)
    assert known.drift is None
    assert known.drift_note == "there is no PCA model from before the new images"
    found = refreshed(storage, images(range(60, 70), split="Test"))
    assert found.drift is None
    assert found.drift_note == "no image was added since the previous fit"


def test_nothing_is_compared_if_the_new_images_are_unknown(
    storage: VectorStorage,
) -> None:
    now = storage.features({"rewritten": images(range(110))}, ["0"])
    Path(now.location.path, "0.parquet").unlink()
    found, _ = storage.refresh_pca(KEEP)
    assert found.drift is None
    assert found.drift_note.startswith("it is not known which images were added")


def test_features_of_another_model_are_not_compared(storage: VectorStorage) -> None:
    storage.features({"all": images(range(300))}, ["0", "1", "2", "test"], "another")
    assert "another model" in storage.refresh_pca(KEEP)[0].drift_note


def test_a_pca_of_too_few_images_has_no_reference(spark: SparkSession, tmp_path: Path) -> None:
    tiny = VectorStorage.in_folder(spark, tmp_path)
    tiny.features({"all": images(range(20))})
    tiny.refresh_pca(KEEP)
    assert drift.load(folder_of_model(tiny)) is None
    tiny.features({"more": images(range(20, 30))})
    assert "too few" in tiny.refresh_pca(KEEP)[0].drift_note


def test_a_damaged_reference_is_named(storage: VectorStorage) -> None:
    folder = folder_of_model(storage)
    Path(folder.path, drift.FILE).write_bytes(b"nothing")
    with pytest.raises(UnreadableVersionError, match=rf"{drift.FILE} cannot be read"):
        drift.load(folder)


def test_few_evenly_spread_images_and_files_are_read() -> None:
    files = np.repeat(np.arange(100, dtype=np.int32), 500)
    rows = pa.table({"file": files, "row": np.tile(np.arange(500, dtype=np.int32), 100)})
    chosen = drift._spread(rows, 100).to_pandas()
    assert len(chosen) == 100
    assert chosen["file"].nunique() == drift.MAX_FILES
    assert (chosen["file"].min(), chosen["file"].max()) == (0, 99)


def test_the_chance_is_hypergeometric() -> None:
    assert chance(0, 50, 3, 300) == 1
    assert chance(1, 1, 1, 9) == pytest.approx(1 / 10)
    assert chance(2, 2, 1, 2) == pytest.approx(2 / 4 * 1 / 3)
    random = np.random.default_rng(5)
    old, new = random.normal(size=(20_000, 40)), random.normal(size=(20_000, 25))
    third = np.sort(old, axis=1)[:, -3]
    beyond = (new > third[:, None]).sum(axis=1)
    for count in (1, 3, 6):
        assert chance(count, 25, 3, 40) == pytest.approx((beyond >= count).mean(), abs=0.015)
