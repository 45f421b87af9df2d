"""The variance of current images that the kept model explains equals scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import explained_variance_score

from spark_src.pca import files as pca_files
from spark_src.pca.fit import folder_of, is_unchanged, load_current
from spark_src.pca.refit import FitSettings
from spark_src.tables.statistics import PcaModelStatistics
from tests.spark_src.vectors import VectorStorage, features_of, image, images


def statistics(storage: VectorStorage) -> PcaModelStatistics:
    return storage.tables.current("pca_model").typed(PcaModelStatistics)


def test_the_variance_of_current_images_equals_scikit_learns(storage: VectorStorage) -> None:
    """For the current training images, projected with the kept model."""
    unlike = image(200, features=np.full(1280, 9, np.float32) * (np.arange(1280) % 2))
    rows = [*images(range(15, 60)), unlike, *images(range(60, 64))]
    storage.features({"new": rows[45:]}, ["0"])
    settings = FitSettings(5, 0.1, refit_share=0.5)
    fit, after = storage.refresh_pca(settings)
    assert not fit.is_new  # 60 images are too few for a reference, so there is no drift
    kept, today = load_current(after), features_of(rows)
    theirs = PCA(5)
    theirs.mean_, theirs.components_ = kept.mean, kept.components
    theirs.explained_variance_, theirs.n_components_ = np.ones(5), 5
    restored = theirs.inverse_transform(theirs.transform(today))
    expected = explained_variance_score(today, restored, multioutput="variance_weighted")
    known = statistics(storage)
    assert known.explained_variance_today == pytest.approx(expected, abs=1e-9)
    assert abs(known.explained_variance_today - known.explained_variance) > 0.001
    own = PCA(svd_solver="full").fit(today).explained_variance_ratio_.cumsum()
    assert known.components_for["0.9"] == int((own < 0.9).sum()) + 1


def test_after_a_fit_the_variance_of_current_images_equals_the_models(
    storage: VectorStorage,
) -> None:
    known = statistics(storage)
    assert known.explained_variance_today == pytest.approx(known.explained_variance, abs=1e-9)


def test_another_threshold_does_not_cause_a_refit(
    storage: VectorStorage,
) -> None:
    before = storage.tables.current("pca_model")
    features = storage.tables.current("mobilenet_features")
    assert not is_unchanged(before, features, FitSettings(5, 0.7))
    fit, after = storage.refresh_pca(FitSettings(5, 0.7))
    assert not fit.is_new
    assert after.statistics.digest == before.statistics.digest
    known = statistics(storage)
    assert known.min_explained_variance == 0.7
    assert known.components_for.keys() == {"0.7", "0.9", "0.95"}


def test_a_version_names_the_current_and_the_fitted_sums(storage: VectorStorage) -> None:
    fitted = statistics(storage)
    assert fitted.sums == fitted.fitted_sums
    storage.features({"new": images(range(60, 63))})
    fit, after = storage.refresh_pca()
    known = statistics(storage)
    assert known.fitted_sums == fitted.sums != known.sums
    assert known.files == (folder_of(fit.model), known.sums, known.fitted_sums)
    stored = pca_files.load_sums(after.location / known.fitted_sums)
    assert stored.sums.n_images == known.n_images == 60
