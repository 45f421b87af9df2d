"""The PCA model is kept if possible; a refit records its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark_src.errors import PcaError, UnreadableVersionError
from spark_src.pca import drift
from spark_src.pca import files as pca_files
from spark_src.pca.fit import Fit, is_unchanged, load_current
from spark_src.pca.refit import FitSettings, Refresh, refit_reason
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics
from tests.spark_src.vectors import FIVE, Row, VectorStorage, image, images


def statistics(storage: VectorStorage) -> PcaModelStatistics:
    return storage.tables.current("pca_model").typed(PcaModelStatistics)


def model_files(snapshot: Snapshot) -> dict[str, bytes]:
    folder = snapshot.location / snapshot.statistics.files[0]
    return {info.path: Path(info.path).read_bytes() for info in folder.files()}


def assert_kept(fit: Fit) -> None:
    assert not fit.is_new
    assert fit.description.startswith("the model is kept; ")


def unlike(number: int) -> Row:
    return image(number, features=np.full(1280, 9, np.float32) * (np.arange(1280) % 2))


def test_the_first_fit_records_that_there_was_no_model(storage: VectorStorage) -> None:
    snapshot = storage.tables.current("pca_model")
    expected = "fitted on 60 images: there was no model; all images were summed up"
    assert statistics(storage).description == snapshot.record.note == expected


def test_a_few_new_images_do_not_change_the_model(storage: VectorStorage) -> None:
    before = storage.tables.current("pca_model")
    files = model_files(before)
    storage.features({"new": images(range(60, 66))})
    fit, after = storage.refresh_pca()
    assert_kept(fit)
    assert after.statistics.digest == before.statistics.digest
    assert model_files(after) == files
    known = statistics(storage)
    assert (known.n_images, known.n_images_today, known.n_new_images) == (60, 66, 6)
    assert known.description.endswith("updated for 6 added and 0 removed images")


def test_more_than_a_tenth_of_new_training_images_causes_a_refit(
    storage: VectorStorage,
) -> None:
    storage.features({"new": images(range(60, 67))})
    fit, _ = storage.refresh_pca()
    assert fit.is_new
    assert fit.description == (
        "fitted on 67 images: 7 of 67 images are new since the last fit (10%); "
        "updated for 7 added and 0 removed images"
    )
    assert (statistics(storage).n_images, statistics(storage).n_new_images) == (67, 0)


def test_new_images_of_several_refreshes_add_up(storage: VectorStorage) -> None:
    for start in (60, 63):
        storage.features({str(start): images(range(start, start + 3))})
        assert_kept(storage.refresh_pca()[0])
    assert statistics(storage).n_new_images == 6
    storage.features({"last": images([66])})
    fit, _ = storage.refresh_pca()
    assert "7 of 67 images are new since the last fit" in fit.description


def test_images_that_are_added_and_removed_again_do_not_count(storage: VectorStorage) -> None:
    for day in range(3):
        storage.features({f"day-{day}": images(range(60, 65))})
        assert_kept(storage.refresh_pca()[0])
        storage.features({}, [f"day-{day}"])
        assert_kept(storage.refresh_pca()[0])
    storage.features({"many": images(range(60, 67))})
    fit, _ = storage.refresh_pca()
    assert "7 of 67 images are new since the last fit" in fit.description


def test_new_images_of_earlier_refreshes_still_count(
    storage: VectorStorage,
) -> None:
    storage.features({"new": images(range(60, 66))})
    storage.refresh_pca()
    storage.features({"test2": images(range(30, 40), "Test")})
    assert_kept(storage.refresh_pca()[0])
    assert statistics(storage).n_new_images == 6


def test_new_images_of_other_splits_do_not_count(storage: VectorStorage) -> None:
    storage.features({"new": images(range(100, 300), "Test")})
    assert_kept(storage.refresh_pca()[0])
    assert statistics(storage).n_new_images == 0


def test_removed_images_do_not_cause_a_refit(storage: VectorStorage) -> None:
    storage.features({}, ["0"])
    assert_kept(storage.refresh_pca()[0])
    assert (statistics(storage).n_images, statistics(storage).n_images_today) == (60, 45)


def test_the_share_of_new_images_is_a_setting(storage: VectorStorage) -> None:
    storage.features({"new": images(range(60, 75))})
    assert_kept(storage.refresh_pca(FitSettings(5, 0.1, refit_share=0.3))[0])
    features = storage.tables.current("mobilenet_features")
    before = storage.tables.current("pca_model")
    assert is_unchanged(before, features, FitSettings(5, 0.1, refit_share=0.3))
    assert not is_unchanged(before, features, FIVE)
    assert "15 of 75 images are new" in storage.refresh_pca()[0].description


def test_new_images_count_even_if_most_files_are_new(storage: VectorStorage) -> None:
    storage.features({f"new-{n}": images([100 + n]) for n in range(9)})
    fit, _ = storage.refresh_pca()
    assert "9 of 69 images are new since the last fit (13%); all images were" in fit.description


def test_new_images_count_even_if_it_is_unknown_which_they_are(
    storage: VectorStorage,
) -> None:
    now = storage.features({"new": images(range(45, 74))}, ["3"])
    Path(now.location.path, "3.parquet").unlink()
    fit, _ = storage.refresh_pca()
    assert "14 of 74 images are new since the last fit" in fit.description


def test_another_number_of_components_causes_a_refit(storage: VectorStorage) -> None:
    fit, _ = storage.refresh_pca(FitSettings(4, 0.1))
    assert fit.is_new
    assert (
        "60 images: 4 components are requested, the previous model had 5; no image was"
        in fit.description
    )


def test_features_of_another_model_cause_a_refit(storage: VectorStorage) -> None:
    known = storage.tables.current("mobilenet_features")
    gone = [file.name.removesuffix(".parquet") for file in known.files]
    storage.features({"all": images(range(60))}, gone, model_sha256="another")
    fit, _ = storage.refresh_pca()
    assert "the features were computed by another model, another; all images" in fit.description
    assert fit.drift_note == "the previous PCA was fitted on features of another model"
    assert statistics(storage).model_sha256 == "another"


def test_another_split_causes_a_refit(storage: VectorStorage) -> None:
    storage.features({"all": images(range(20), None)}, ["0", "1", "2", "3"])
    fit, _ = storage.refresh_pca()
    reason = "the previous model was fitted on split Training, this one on all images"
    assert f"50 images: {reason}; all images were" in fit.description
    assert statistics(storage).fit_split is None


def test_unlike_images_cause_a_refit(storage: VectorStorage) -> None:
    storage.features({"more": images(range(60, 120))})
    storage.refresh_pca()
    storage.features({"new": [unlike(200)]})
    fit, _ = storage.refresh_pca()
    assert "121 images: the new images are unlike those" in fit.description
    assert fit.drift is not None and not fit.drift.familiar


def test_a_refit_can_be_requested(storage: VectorStorage) -> None:
    before = storage.tables.current("pca_model")
    fit, after = storage.refresh_pca(FitSettings(5, 0.1, refit=True))
    assert fit.is_new
    assert "60 images: a new fit was requested; all images were summed up" in fit.description
    assert after.statistics.digest == before.statistics.digest


def test_a_model_with_a_damaged_file_is_refitted(storage: VectorStorage) -> None:
    before = storage.tables.current("pca_model")
    Path(before.location.path, before.statistics.files[0], pca_files.FILE).write_bytes(b"")
    fit, after = storage.refresh_pca()
    assert "the previous model cannot be read; no image was added or removed" in fit.description
    assert load_current(after).digest == before.statistics.digest


def test_a_damaged_reference_is_rejected_unless_a_refit_is_requested(
    storage: VectorStorage,
) -> None:
    storage.features({"more": images(range(60, 120))})
    before = storage.refresh_pca()[1]
    Path(before.location.path, before.statistics.files[0], drift.FILE).write_bytes(b"")
    storage.features({"new": images([120])})
    with pytest.raises(UnreadableVersionError, match=r"--set pca_model\.refit=true"):
        storage.refresh_pca()
    assert storage.tables.current("pca_model") == before
    assert storage.refresh_pca(FitSettings(5, 0.1, refit=True))[0].is_new


def test_lost_sums_are_recomputed_and_the_model_is_kept(storage: VectorStorage) -> None:
    before = statistics(storage)
    location = storage.tables.current("pca_model").location
    Path(location.path, before.sums).unlink()
    storage.features({"new": images(range(60, 63))})
    fit, _ = storage.refresh_pca()
    assert_kept(fit)
    assert fit.description.endswith("all images were summed up")
    assert (statistics(storage).n_new_images, statistics(storage).n_images_today) == (3, 63)


@pytest.mark.parametrize(("gone", "is_new"), [("0", True), ("test", False)])
def test_after_an_erasure_a_model_fitted_on_erased_images_is_refitted(
    storage: VectorStorage, gone: str, is_new: bool
) -> None:
    storage.features({}, [gone])
    fit, _ = storage.refresh_pca(erased=True)
    assert fit.is_new is is_new
    reason = "images that the previous model was fitted on were erased"
    assert (reason in fit.description) is is_new


def test_after_an_erasure_of_the_earlier_files_the_model_is_refitted(
    storage: VectorStorage,
) -> None:
    now = storage.features({"rewritten": images(range(1, 15))}, ["0"])
    Path(now.location.path, "0.parquet").unlink()
    fit, _ = storage.refresh_pca(erased=True)
    reason = "images that the previous model was fitted on were erased"
    assert f"59 images: {reason}; all images" in fit.description


def test_unchanged_features_and_settings_require_no_work(
    storage: VectorStorage,
) -> None:
    before = storage.tables.current("pca_model")
    features = storage.tables.current("mobilenet_features")
    assert is_unchanged(before, features, FIVE)
    assert not is_unchanged(None, features, FIVE)
    assert not is_unchanged(before, features, FitSettings(5, 0.1, refit=True))
    assert not is_unchanged(before, features, FitSettings(6, 0.1))
    later = storage.features({"new": images([60])})
    assert not is_unchanged(before, later, FIVE)


def test_invalid_features_are_rejected_even_if_the_model_would_be_kept(
    storage: VectorStorage,
) -> None:
    before = storage.tables.current("pca_model")
    storage.features({"new": [image(60, features=np.full(1280, 1e9, np.float32))]})
    with pytest.raises(PcaError, match="not finite, or too large"):
        storage.refresh_pca()
    assert storage.tables.current("pca_model") == before


KNOWN = PcaModelStatistics(
    digest="",
    n_components=5,
    n_images=60,
    model_sha256="digest",
    explained_variance=0.9,
    explained_variance_today=0.9,
    n_images_today=60,
    min_explained_variance=0.9,
    components_for={},
    fit_split="Training",
    sums="",
    fitted_sums="",
    n_new_images=0,
    description="",
)
SAME = Refresh("digest", "Training", 60, 0, None, lost_fitted_images=False, is_readable=True)


@pytest.mark.parametrize(("n_new", "refitted"), [(0, False), (6, False), (7, True), (60, True)])
def test_exactly_a_tenth_of_new_images_does_not_cause_a_refit(n_new: int, refitted: bool) -> None:
    now = Refresh("digest", "Training", 60, n_new, None, False, True)
    assert (refit_reason(KNOWN, now, FIVE) is not None) is refitted


@pytest.mark.parametrize("familiar", [True, False])
def test_drift_causes_a_refit_only_if_images_are_not_familiar(familiar: bool) -> None:
    found = DriftStatistics(
        new_images=9, compared=9, beyond=0, chance=1, residual=1, shift=0, familiar=familiar
    )
    now = Refresh("digest", "Training", 600, 9, found, False, True)
    assert refit_reason(KNOWN, SAME, FIVE) is None
    assert (refit_reason(KNOWN, now, FIVE) is None) is familiar


@pytest.mark.parametrize(
    ("n_images", "refitted"),
    [(12, False), (13, True), (900, True)],
)
def test_a_model_of_few_images_is_refitted_when_more_components_are_possible(
    n_images: int, refitted: bool
) -> None:
    known = KNOWN.model_copy(update={"n_components": 11, "n_components_asked": 50})
    now = replace(SAME, n_images=n_images)
    assert (refit_reason(known, now, FitSettings(50)) is not None) is refitted


def test_the_requested_and_the_kept_number_of_components_are_recorded(
    storage: VectorStorage,
) -> None:
    storage.refresh_pca(settings=FitSettings(500))
    found = storage.tables.current("pca_model").typed(PcaModelStatistics)
    assert found.n_components_requested == 500
    assert found.n_components == found.n_images - 1 < 500
    assert f"500 components are requested and {found.n_components} kept" in found.description
