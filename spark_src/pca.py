"""PCA: distributed sums, one eigendecomposition on the driver, a centred projection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel as SparkPCAModel
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_src.errors import PcaError
from spark_src.featurize import FEATURES, float_lists
from spark_src.schemas import PCA_COMPONENTS, require_columns
from spark_src.session import in_files_of_sensible_size

FIT_SPLIT = "Training"
"""The split PCA is fitted on; all of them where there is none of that name."""

MIN_EXPLAINED_VARIANCE = 0.9

SHARES = (0.9, 0.95)
"""Shares of the variance that people ask the number of components for."""

_SUMS_SCHEMA = pa.schema(
    [
        ("images", pa.int64()),
        ("malformed", pa.int64()),
        ("total", pa.binary()),
        ("gram", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Sums:
    """What PCA needs of a set of images. Sums of disjoint sets add up exactly."""

    images: int
    total: NDArray[np.float64]
    """(1280,): the features summed."""
    gram: NDArray[np.float64]
    """(1280, 1280): the features' products summed."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.images + other.images, self.total + other.total, self.gram + other.gram)


@dataclass(frozen=True, eq=False)
class PcaModel:
    """A fitted PCA of features of one model."""

    mean: NDArray[np.float64]
    """(1280,)"""
    components: NDArray[np.float64]
    """(n_components, 1280): orthonormal rows, the largest loading of each positive."""
    explained_variance_ratio: NDArray[np.float64]
    """(1280,): of every component there is, not only of those kept; they add up to 1."""
    images: int
    """How many images it was fitted on."""
    model: str
    """sha256 of the model that made the features."""
    min_explained_variance: float = MIN_EXPLAINED_VARIANCE
    """The share of the variance that was asked for; a check holds the model to it."""

    @property
    def n_components(self) -> int:
        """How many components are kept."""
        return len(self.components)

    @property
    def explained_variance(self) -> float:
        """Share of the variance that the kept components explain."""
        return float(self.explained_variance_ratio[: self.n_components].sum())

    @property
    def digest(self) -> str:
        """sha256 of all its numbers."""
        numbers = (self.mean, self.components, self.explained_variance_ratio)
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in numbers)
        about = f"{self.images} {self.model} {self.min_explained_variance}"
        return hashlib.sha256(content + about.encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """What its stored version says of it."""
        return {
            "n_components": self.n_components,
            "images": self.images,
            "model": self.model,
            "explained_variance": self.explained_variance,
            "min_explained_variance": self.min_explained_variance,
            "components_for": {str(share): self.components_for(share) for share in SHARES},
        }

    def components_for(self, share: float) -> int:
        """The least number of components that explain at least `share` of the variance."""
        reached = np.cumsum(self.explained_variance_ratio) >= share - 1e-12
        return int(np.argmax(reached)) + 1

    def project(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Components of n feature vectors: (n, 1280) in, (n, n_components) float32 out."""
        return ((features - self.mean) @ self.components.T).astype(np.float32)


def fit(
    features: DataFrame,
    n_components: int,
    min_explained_variance: float = MIN_EXPLAINED_VARIANCE,
) -> PcaModel:
    """Fit PCA on the training split.

    Centred, not standardised. Signs: the largest loading of each component is positive.

    Args:
        features: a table with the columns of `mobilenet_features`.
        n_components: how many components to keep, 1 to 1,280.
        min_explained_variance: kept in the model for the check; it changes no number.

    Raises:
        PcaError: too few images, features that do not vary or are not finite, several models.
    """
    require_columns(features, "mobilenet_features")
    models = [row["model"] for row in features.select("model").distinct().collect()]
    model = one_model(models)
    sums = sums_of(_training_rows(features))
    return fit_sums(sums, n_components, model, min_explained_variance)


def sums_of(features: DataFrame) -> Sums:
    """Sum up features (and their products) in one pass; 13 MB come back from each core."""
    spark = features.sparkSession
    partitions = spark.sparkContext.defaultParallelism
    schema = from_arrow_schema(_SUMS_SCHEMA)
    parts = features.select("features").coalesce(partitions).mapInArrow(_sum_batches, schema)
    sums = Sums(0, np.zeros(FEATURES), np.zeros((FEATURES, FEATURES)))
    for part in parts.collect():
        if part["malformed"]:
            raise malformed_error(part["malformed"])
        total = np.frombuffer(part["total"])
        sums += Sums(part["images"], total, np.frombuffer(part["gram"]).reshape(len(total), -1))
    return sums


def fit_sums(
    sums: Sums,
    n_components: int,
    model: str,
    min_explained_variance: float = MIN_EXPLAINED_VARIANCE,
) -> PcaModel:
    """The eigendecomposition of the covariance that the sums give.

    Raises:
        PcaError: see `fit`.
    """
    if not 1 <= n_components <= FEATURES:
        raise PcaError(f"n_components is {n_components}; it has to be 1 to {FEATURES}.")
    if sums.images <= n_components:
        raise PcaError(
            f"PCA with {n_components} components needs at least {n_components + 1} images to fit "
            f"on, but there are {sums.images}. Give more images, or lower n_components."
        )
    if not np.isfinite(sums.gram).all():
        raise PcaError("Some features are not finite. Materialize mobilenet_features again.")
    mean = sums.total / sums.images
    covariance = sums.gram / sums.images - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    variances = np.clip(eigenvalues[::-1], 0, None)
    scale = max(float(np.diag(sums.gram).max()) / sums.images, np.finfo(float).tiny)
    if variances.sum() <= 1e-12 * scale:
        raise PcaError(
            f"All {sums.images} images have the same features, so there is no variance to "
            "explain. Are they all the same picture, or are the model's weights all zero?"
        )
    components = _with_fixed_signs(eigenvectors.T[::-1][:n_components])
    ratio = variances / variances.sum()
    return PcaModel(mean, components, ratio, sums.images, model, min_explained_variance)


def transform(features: DataFrame, pca: PcaModel, rows: int) -> DataFrame:
    """Project every split, the mean subtracted.

    Returns:
        A table with the columns of `pca_components`, not yet computed.
    """
    wanted = features.select("image_id", "path", "split", "label", "features")
    shared = features.sparkSession.sparkContext.broadcast(pca)
    components = wanted.mapInArrow(_projector(shared), PCA_COMPONENTS)
    return in_files_of_sensible_size(components, rows, pca.n_components * 4)


def spark_ml_model(spark: SparkSession, pca: PcaModel) -> SparkPCAModel:
    """The same model as a genuine `pyspark.ml.feature.PCAModel`, to save and to load in Spark.

    Its `transform` does not subtract the mean: subtract `PcaModel.mean` first.
    """
    context = spark.sparkContext
    loadings = DenseMatrix(FEATURES, pca.n_components, pca.components.ravel())
    variance = DenseVector(pca.explained_variance_ratio[: pca.n_components])
    kind = context._jvm.org.apache.spark.ml.feature.PCAModel  # type: ignore[union-attr]
    java_model = kind("fruits_pca", _py2java(context, loadings), _py2java(context, variance))
    model = SparkPCAModel(java_model)
    model._transfer_params_from_java()
    model._set(k=pca.n_components)
    return model.setInputCol("features").setOutputCol("pca")


def one_model(models: Sequence[str]) -> str:
    """The one model that all features come from.

    Raises:
        PcaError: there is none, or there are several.
    """
    if not models:
        raise PcaError("There are 0 images to fit PCA on. Materialize mobilenet_features first.")
    if len(models) > 1:
        raise PcaError(
            f"The features come from {len(models)} models, but PCA takes those of one. "
            "Materialize mobilenet_features again."
        )
    return models[0]


def _training_rows(features: DataFrame) -> DataFrame:
    training = features.where(F.col("split") == FIT_SPLIT)
    return features if training.select("path").isEmpty() else training


def _with_fixed_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return np.ascontiguousarray(components * signs[:, None])


def malformed_error(rows: int) -> PcaError:
    """What to raise where so many rows do not hold a feature vector."""
    return PcaError(
        f"{rows:,} feature vectors do not have {FEATURES:,} numbers. Make them anew with: "
        "uv run dagster asset materialize --select mobilenet_features"
    )


def matrix_of(column: pa.Array) -> NDArray[np.float32]:
    """An Arrow column of feature lists as a matrix (n, 1280).

    Raises:
        PcaError: a list has another length, or is null.
    """
    malformed = count_malformed(column)
    if malformed:
        raise malformed_error(malformed)
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, FEATURES)


def count_malformed(column: pa.Array) -> int:
    """How many rows of a column of feature lists have another length, or none."""
    lengths = np.asarray(column.drop_null().value_lengths())
    return int(column.null_count + (lengths != FEATURES).sum())


def _sum_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    images, malformed = 0, 0
    total = np.zeros(FEATURES)
    gram = np.zeros((FEATURES, FEATURES))
    for batch in batches:
        column = batch.column("features")
        malformed += count_malformed(column)
        if malformed:
            continue  # counted here, told on the driver: a worker's error arrives as Spark's
        features = matrix_of(column).astype(np.float64)
        images += len(features)
        total += features.sum(axis=0)
        gram += features.T @ features
    sums = {"total": total.tobytes(), "gram": gram.tobytes()}
    row = {"images": images, "malformed": malformed, **sums}
    yield pa.RecordBatch.from_pylist([row], schema=_SUMS_SCHEMA)


def _projector(
    pca: Any,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def project_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            components = pca.value.project(matrix_of(batch.column("features")))
            columns = {name: batch.column(name) for name in ("image_id", "path", "split", "label")}
            yield pa.RecordBatch.from_pydict(columns | {"pca": float_lists(components)})

    return project_batches
