"""Features that cannot be reduced are refused by a message that says why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from spark_src.errors import PcaError, StorageError
from spark_src.pca import Sums, fit, fit_sums, transform
from spark_src.schemas import MOBILENET_FEATURES

Vectors = list[list[float] | None]
MakeTable = Callable[..., DataFrame]


@pytest.fixture
def table(spark: SparkSession) -> MakeTable:
    def make(vectors: Vectors, models: tuple[str, ...] = ("digest",)) -> DataFrame:
        rows = [
            ("id", f"{number}.jpg", None, None, vector, models[number % len(models)])
            for number, vector in enumerate(vectors)
        ]
        return spark.createDataFrame(rows, MOBILENET_FEATURES)

    return make


def random_vectors(count: int, length: int = 1280) -> Vectors:
    return np.random.default_rng(count).random((count, length), np.float32).tolist()


def sums(features: NDArray[np.float64]) -> Sums:
    return Sums(len(features), features.sum(axis=0), features.T @ features)


def test_as_many_images_as_components_are_too_few(table: MakeTable) -> None:
    with pytest.raises(PcaError, match="at least 6 images to fit on, but there are 5"):
        fit(table(random_vectors(5)), 5)


def test_one_image_more_than_components_is_enough(table: MakeTable) -> None:
    assert fit(table(random_vectors(6)), 5).explained_variance == pytest.approx(1)


def test_no_images_at_all_are_called_too_few(table: MakeTable) -> None:
    with pytest.raises(PcaError, match=r"\b0 images|no images"):
        fit(table([]), 5)


def test_images_that_are_all_the_same_have_no_variance_to_explain(table: MakeTable) -> None:
    with pytest.raises(PcaError, match="All 20 images have the same features"):
        fit(table(random_vectors(1) * 20), 5)


@pytest.mark.parametrize(("count", "scale"), [(2, 1.0), (60, 1e-3), (60, 1e3), (100_000, 1.0)])
def test_rounding_is_not_taken_for_variance(count: int, scale: float) -> None:
    vector = np.random.default_rng(1).random(1280) * scale
    same = Sums(count, count * vector, count * np.outer(vector, vector))
    with pytest.raises(PcaError, match="have the same features"):
        fit_sums(same, 1, "digest")


def test_features_that_are_all_zero_have_no_variance_to_explain() -> None:
    with pytest.raises(PcaError, match="have the same features"):
        fit_sums(sums(np.zeros((9, 1280))), 5, "digest")


def test_features_that_vary_a_little_are_accepted() -> None:
    features = 1 + 1e-4 * np.random.default_rng(2).random((60, 1280))
    assert fit_sums(sums(features), 5, "digest").images == 60


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(table: MakeTable, value: float) -> None:
    vectors = random_vectors(9)
    vectors[4] = [value] + [0.0] * 1279
    with pytest.raises(PcaError, match="not finite"):
        fit(table(vectors), 5)


@pytest.mark.parametrize("n_components", [0, -1, 1281])
def test_a_number_of_components_out_of_range_is_named(table: MakeTable, n_components: int) -> None:
    with pytest.raises(PcaError, match=f"n_components is {n_components}; it has to be 1 to 1280"):
        fit(table(random_vectors(3)), n_components)


@pytest.mark.parametrize("wrong", [[1.0] * 1279, [1.0] * 2560, [], None])
def test_a_feature_vector_of_another_length_is_refused(
    table: MakeTable, wrong: list[float] | None
) -> None:
    with pytest.raises(PcaError, match=r"do not have 1,280 numbers"):
        fit(table([*random_vectors(9), wrong]), 5)


def test_features_of_two_models_are_refused(table: MakeTable) -> None:
    with pytest.raises(PcaError, match="come from 2 models"):
        fit(table(random_vectors(9), models=("one", "two")), 5)


def test_two_models_are_refused_even_where_one_made_no_training_image(table: MakeTable) -> None:
    split = table(random_vectors(9), models=("one", "two")).selectExpr(
        "image_id",
        "path",
        "if(model = 'one', 'Training', 'Test') split",
        "label",
        "features",
        "model",
    )
    with pytest.raises(PcaError, match="come from 2 models"):
        fit(split, 2)


def test_a_table_of_other_columns_is_refused(table: MakeTable) -> None:
    with pytest.raises(StorageError, match="mobilenet_features should have the columns"):
        fit(table(random_vectors(9)).drop("split"), 5)


def test_a_fitted_model_projects_rows_without_split_and_label(table: MakeTable) -> None:
    features = table(random_vectors(9))
    rows = transform(features, fit(features, 2), 9).collect()
    assert len(rows) == 9
    assert {(row.split, row.label, len(row.pca)) for row in rows} == {(None, None, 2)}
