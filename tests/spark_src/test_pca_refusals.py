"""Features that cannot be reduced are rejected with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import PcaError
from spark_src.pca.model import PcaModel, Sums, fit_sums
from spark_src.tables.delta import Snapshot
from tests.spark_src.vectors import fitted

Row = dict[str, Any]
Fit = Callable[[Sequence[Row], int], PcaModel]


@pytest.fixture
def fit(spark: SparkSession, store_features: Callable[..., Snapshot]) -> Fit:
    """Fit the given number of components on the stored rows."""
    return lambda rows, k: fitted(spark, store_features(rows), k)


def random_rows(count: int, **columns: str) -> list[Row]:
    vectors = np.random.default_rng(count).random((count, 1280), np.float32)
    return [{"features": vector, **columns} for vector in vectors]


@pytest.mark.parametrize(("n_images", "kept"), [(2, 1), (5, 4), (6, 5), (7, 5)])
def test_n_images_give_at_most_n_minus_1_components(fit: Fit, n_images: int, kept: int) -> None:
    found = fit(random_rows(n_images), 5)
    assert found.n_components == kept
    assert found.explained_variance == pytest.approx(1) or n_images > 6


def test_a_single_training_image_is_rejected(fit: Fit) -> None:
    with pytest.raises(PcaError, match="at least 2 images to fit on, but there is 1: components"):
        fit(random_rows(1, split="Training") + random_rows(9, split="Test"), 5)


def test_an_empty_table_has_too_few_images(fit: Fit) -> None:
    with pytest.raises(PcaError, match="at least 2 images to fit on, but there is none"):
        fit([], 5)


def test_images_that_are_all_the_same_have_no_variance_to_explain(fit: Fit) -> None:
    with pytest.raises(PcaError, match="All 20 images have the same features"):
        fit(random_rows(1) * 20, 5)


@pytest.mark.parametrize(("count", "scale"), [(2, 1.0), (60, 1e-3), (60, 1e3), (100_000, 1.0)])
def test_rounding_errors_are_not_counted_as_variance(count: int, scale: float) -> None:
    vector = np.random.default_rng(1).random(1280) * scale
    same = Sums.from_totals(count, count * vector, count * np.outer(vector, vector))
    with pytest.raises(PcaError, match="have the same features"):
        fit_sums(same, 1, "digest")


def test_features_that_are_all_zero_have_no_variance_to_explain() -> None:
    with pytest.raises(PcaError, match="have the same features"):
        fit_sums(Sums.from_features(np.zeros((9, 1280))), 5, "digest")


def test_features_that_vary_a_little_are_accepted() -> None:
    features = 1 + 1e-4 * np.random.default_rng(2).random((60, 1280))
    assert fit_sums(Sums.from_features(features), 5, "digest").n_images == 60


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_features_that_are_not_finite_are_refused(fit: Fit, value: float | None) -> None:
    with pytest.raises(PcaError, match="not finite"):
        fit([*random_rows(9), {"features": [value] + [0.0] * 1279}], 5)


@pytest.mark.parametrize("n_components", [0, -1, 1281])
def test_a_number_of_components_out_of_range_is_named(fit: Fit, n_components: int) -> None:
    with pytest.raises(PcaError, match=f"n_components is {n_components}; it has to be 1 to 1280"):
        fit(random_rows(3), n_components)


@pytest.mark.parametrize("wrong", [[1.0] * 1279, [1.0] * 2560, [], None])
def test_a_feature_vector_of_another_length_is_refused(fit: Fit, wrong: list[float] | None) -> None:
    with pytest.raises(PcaError, match=r"^1 feature vectors do not have 1,280 numbers"):
        fit([*random_rows(9), {"features": wrong}], 5)
