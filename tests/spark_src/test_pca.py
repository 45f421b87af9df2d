"""PCA equals that of scikit-learn and Spark, up to signs, which are deterministic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.ml.feature import PCA, PCAModel
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn import decomposition

from spark_src.features.model import MobilenetModel
from spark_src.io.locations import Location
from spark_src.pca import files as pca_files
from spark_src.pca.model import PcaModel, components_for
from spark_src.tables.delta import Snapshot
from spark_src.tables.frames import read_files
from spark_src.tables.parquet import read_columns
from spark_src.tables.schemas import MOBILENET_FEATURES
from tests.spark_src.vectors import fitted as fit_to
from tests.spark_src.vectors import project_all

Matrix = NDArray[np.float64]
Row = dict[str, Any]
Store = Callable[..., Snapshot]


@pytest.fixture(scope="module")
def features(spark: SparkSession, sample_version: Snapshot) -> DataFrame:
    return read_files(spark, sample_version)


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, sample_version: Snapshot) -> PcaModel:
    return fit_to(spark, sample_version, 50)


@pytest.fixture(scope="module")
def rows(sample_version: Snapshot) -> list[Row]:
    return read_columns(sample_version.locations, MOBILENET_FEATURES.names).to_pylist()


@pytest.fixture(scope="module")
def training(rows: list[Row]) -> Matrix:
    return np.array([row["features"] for row in rows if row["split"] == "Training"])


@pytest.fixture(scope="module")
def sklearn_pca(training: Matrix) -> decomposition.PCA:
    return decomposition.PCA(svd_solver="full").fit(training)


@pytest.fixture(scope="module")
def projected(
    spark: SparkSession,
    sample_version: Snapshot,
    fitted: PcaModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[float]]:
    folder = Location.parse(str(tmp_path_factory.mktemp("projected")))
    files = project_all(spark, sample_version, fitted, folder)
    return {row["path"]: row["pca"] for row in read_columns(files, ["path", "pca"]).to_pylist()}


def same_signs(components: Matrix, model: Matrix) -> Matrix:
    """The components with the signs of the model's."""
    return components * np.sign((components * model).sum(axis=1))[:, None]


def test_pca_is_fitted_on_the_training_images_only(fitted: PcaModel, training: Matrix) -> None:
    assert (fitted.n_images, len(training), fitted.n_components) == (180, 180, 50)
    np.testing.assert_allclose(fitted.mean, training.mean(axis=0), atol=1e-9)


def test_every_explained_variance_ratio_is_scikit_learns(
    fitted: PcaModel, sklearn_pca: decomposition.PCA
) -> None:
    theirs = np.zeros(1280)
    theirs[:180] = sklearn_pca.explained_variance_ratio_
    np.testing.assert_allclose(fitted.explained_variance_ratio, theirs, atol=1e-6)
    assert fitted.explained_variance_ratio.sum() == pytest.approx(1)
    assert fitted.explained_variance == pytest.approx(theirs[:50].sum(), abs=1e-6)


def test_fifty_components_explain_the_measured_variance_of_the_sample(fitted: PcaModel) -> None:
    assert 0.9 < fitted.explained_variance < 0.97


def test_components_are_scikit_learns_up_to_their_signs(
    fitted: PcaModel, sklearn_pca: decomposition.PCA
) -> None:
    theirs = same_signs(sklearn_pca.components_[:50], fitted.components)
    np.testing.assert_allclose(fitted.components, theirs, atol=1e-5)


def test_projections_of_every_split_are_scikit_learns(
    fitted: PcaModel,
    sklearn_pca: decomposition.PCA,
    projected: dict[str, list[float]],
    rows: list[Row],
) -> None:
    theirs = sklearn_pca.transform(np.array([row["features"] for row in rows]))[:, :50]
    turned = theirs * np.sign((sklearn_pca.components_[:50] * fitted.components).sum(axis=1))
    ours = np.array([projected[row["path"]] for row in rows])
    np.testing.assert_allclose(ours, turned, atol=1e-4)


def test_projections_of_the_training_images_have_the_mean_zero(
    projected: dict[str, list[float]],
) -> None:
    ours = np.array([pca for path, pca in projected.items() if path.startswith("Training/")])
    assert ours.shape == (180, 50)
    np.testing.assert_allclose(ours.mean(axis=0), 0, atol=1e-5)


def test_sparks_own_pca_is_the_same_up_to_signs(
    spark: SparkSession, training: Matrix, store_features: Store
) -> None:
    """On features that span all 1,280 dimensions: on the 180 training images, which do not,
    Spark's own decomposition gives components that are not even orthogonal."""
    noise = np.random.default_rng(9).normal(scale=0.01, size=(1440, 1280))
    spanning = (np.tile(training, (8, 1)) + noise).astype(np.float32)
    version = store_features([{"features": vector} for vector in spanning])
    vectors = read_files(spark, version).select(array_to_vector("features").alias("x"))
    theirs = PCA(k=50, inputCol="x", outputCol="y").fit(vectors)
    ours = fit_to(spark, version, 50)
    turned = same_signs(theirs.pc.toArray().T, ours.components)
    np.testing.assert_allclose(ours.components, turned, atol=1e-5)
    np.testing.assert_allclose(
        ours.explained_variance_ratio[:50], theirs.explainedVariance.toArray(), atol=1e-6
    )


def test_the_saved_spark_ml_model_gives_the_same_projections_of_centred_features(
    features: DataFrame,
    fitted: PcaModel,
    projected: dict[str, list[float]],
    tmp_path: Path,
) -> None:
    pca_files.save_spark_ml(fitted, Location.parse(str(tmp_path / "a b#c%20")))
    model = PCAModel.load(f"{tmp_path}/a b#c%20/{pca_files.SPARK_ML}")
    mean = F.array(*[F.lit(float(value)) for value in fitted.mean])
    centred = F.zip_with(features.features, mean, lambda value, centre: value - centre)
    found = model.transform(features.select("path", array_to_vector(centred).alias("features")))
    theirs = {
        row.path: row.y
        for row in found.select("path", vector_to_array("pca", "float64").alias("y")).collect()
    }
    assert theirs.keys() == projected.keys()
    for path, components in theirs.items():
        np.testing.assert_allclose(components, projected[path], atol=1e-4)
    np.testing.assert_allclose(
        model.explainedVariance.toArray(), fitted.explained_variance_ratio[:50], atol=1e-12
    )


def test_a_fit_on_rows_in_another_order_gives_the_same_signs_and_values(
    spark: SparkSession, rows: list[Row], fitted: PcaModel, store_features: Store
) -> None:
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = store_features([rows[index] for index in order], files=7, rows_per_group=11)
    again = fit_to(spark, shuffled, 50)
    np.testing.assert_allclose(again.components, fitted.components, atol=1e-6)
    np.testing.assert_allclose(
        again.explained_variance_ratio, fitted.explained_variance_ratio, atol=1e-9
    )


def test_components_are_orthonormal_and_their_largest_loading_is_positive(
    fitted: PcaModel,
) -> None:
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(50), atol=1e-9)
    largest = np.abs(fitted.components).argmax(axis=1)
    assert (fitted.components[np.arange(50), largest] > 0).all()


def test_fewer_components_are_the_first_of_more(
    spark: SparkSession, sample_version: Snapshot, fitted: PcaModel
) -> None:
    few = fit_to(spark, sample_version, 3)
    assert few.n_components == 3
    np.testing.assert_allclose(few.components, fitted.components[:3], atol=1e-9)


def test_a_model_records_the_digest_of_the_feature_model(
    fitted: PcaModel, mobilenet: MobilenetModel
) -> None:
    assert fitted.model_sha256 == mobilenet.sha256


def test_without_a_training_split_pca_is_fitted_on_all(
    spark: SparkSession, rows: list[Row], store_features: Store
) -> None:
    unsplit = store_features([row | {"split": None} for row in rows])
    test = store_features([row for row in rows if row["split"] == "Test"])
    assert fit_to(spark, unsplit, 10).n_images == 240
    assert fit_to(spark, test, 10).n_images == 60


def test_images_of_a_single_label_can_be_reduced(
    spark: SparkSession, rows: list[Row], store_features: Store
) -> None:
    tomatoes = store_features([row for row in rows if row["label"] == "Tomato 2"])
    one = fit_to(spark, tomatoes, 10)
    assert one.n_images == 60
    assert 0.5 < one.explained_variance <= 1


@pytest.mark.parametrize(
    ("share", "expected"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)]
)
def test_components_for_a_share_are_the_fewest_that_reach_it(share: float, expected: int) -> None:
    assert components_for(np.array([0.5, 0.25, 0.15, 0.1, 0.0]), share) == expected


def test_components_for_a_share_of_the_sample_are_the_fewest(fitted: PcaModel) -> None:
    ratios = fitted.explained_variance_ratio
    count = components_for(ratios, 0.9)
    assert ratios[:count].sum() >= 0.9 > ratios[: count - 1].sum()
    assert count < 50 < components_for(ratios, 0.99)
