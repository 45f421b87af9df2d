"""The numerics of PCA: sums, eigendecomposition, model. No Spark, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_src.errors import PcaError
from spark_src.tables.vectors import FEATURES

FIT_SPLIT = "Training"
"""The split that PCA is fitted on; without such a split, all images."""

MIN_EXPLAINED_VARIANCE = 0.9

SHARES = (0.9, 0.95)
"""Shares of the variance for which the number of components is reported."""


UNIT = 2.0**-34
"""Unit of the integer sums. Integer addition does not depend on the order and can be undone
exactly. With features up to 6 (ReLU6), 15 million images fit into int64."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over a set of images, from which PCA is fitted. They add and subtract exactly."""

    n_images: int
    total: NDArray[np.int64]
    """(1280,): sum of the features, in `UNIT`."""
    gram: NDArray[np.int64]
    """(1280, 1280): sum of the features' products, in `UNIT`."""
    is_valid: bool = True
    """False if a feature was not finite, or too large for the sums."""

    @classmethod
    def zero(cls) -> Sums:
        """Sums of no images."""
        return cls(0, np.zeros(FEATURES, np.int64), np.zeros((FEATURES, FEATURES), np.int64))

    @classmethod
    def from_features(cls, features: NDArray[np.floating[Any]]) -> Sums:
        """Sums of a block of images: features (n, 1280)."""
        exact = features.astype(np.float64)
        return cls.from_totals(len(exact), exact.sum(axis=0), exact.T @ exact)

    @classmethod
    def from_totals(
        cls, n_images: int, total: NDArray[np.float64], gram: NDArray[np.float64]
    ) -> Sums:
        """Convert floating-point sums to `UNIT`."""
        largest = np.abs(gram.diagonal()).max(initial=0)
        if not largest < 2.0**62 * UNIT:  # also true for NaN
            return cls(n_images, cls.zero().total, cls.zero().gram, is_valid=False)
        return cls(n_images, _in_units(total), _in_units(gram))

    def __add__(self, other: Sums) -> Sums:
        return self._combine(other, np.add)

    def __sub__(self, other: Sums) -> Sums:
        return self._combine(other, np.subtract)

    def _combine(self, other: Sums, operation: Any) -> Sums:
        gram = operation(self.gram, other.gram)
        is_valid = self.is_valid and other.is_valid and bool((gram.diagonal() >= 0).all())
        n_images = int(operation(self.n_images, other.n_images))
        return Sums(n_images, operation(self.total, other.total), gram, is_valid)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(1280,)"""
        return self.total.astype(np.float64) * (UNIT / self.n_images)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(1280, 1280), of the population: divided by n."""
        return self.gram.astype(np.float64) * (UNIT / self.n_images) - np.outer(
            self.mean, self.mean
        )


def _in_units(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(values / UNIT).astype(np.int64)


@dataclass(frozen=True, eq=False)
class PcaModel:
    """A PCA fitted on the features of one model."""

    mean: NDArray[np.float64]
    """(1280,)"""
    components: NDArray[np.float64]
    """(n_components, 1280): orthonormal rows; the largest loading of each row is positive."""
    explained_variance_ratio: NDArray[np.float64]
    """(1280,): ratios of all components, not only of those kept; their sum is 1."""
    n_images: int
    """How many images it was fitted on."""
    model_sha256: str
    """Digest of the model that computed the features."""

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
        about = f"{self.n_images} {self.model_sha256}"
        return hashlib.sha256(content + about.encode()).hexdigest()

    def explained_variance_of(self, sums: Sums) -> float:
        """Share of the variance of a set of images that the components explain, 0 to 1.

        The trace of the covariance within the components' space, divided by the whole trace.
        """
        covariance = sums.covariance
        kept = np.einsum("kf,fg,kg->", self.components, covariance, self.components, optimize=True)
        return float(kept / covariance.trace()) if covariance.trace() > 0 else 1.0

    def project(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Components of n feature vectors: (n, 1280) in, (n, n_components) float32 out."""
        return ((features - self.mean) @ self.components.T).astype(np.float32)


def fit_sums(sums: Sums, n_components: int, model_sha256: str) -> PcaModel:
    """Fit PCA by eigendecomposition of the covariance.

    Features are centred, not standardised. The largest loading of each component is positive.

    Args:
        sums: the sums of the images to fit on.
        n_components: how many components to keep, 1 to 1,280; n images have at most n - 1.
        model_sha256: the digest of the model that computed the features.

    Raises:
        PcaError: too few images, or features that do not vary or are not finite.
    """
    if not 1 <= n_components <= FEATURES:
        raise PcaError(f"n_components is {n_components}; it has to be 1 to {FEATURES}.")
    if sums.n_images < 2:
        raise PcaError(
            f"PCA needs at least 2 images to fit on, but there is {sums.n_images or 'none'}: "
            "components describe how images differ. Add pictures to the input."
        )
    require_valid_sums(sums)
    mean, covariance = sums.mean, sums.covariance
    if covariance.trace() <= _rounding(sums):
        raise PcaError(
            f"All {sums.n_images} images have the same features, so there is no variance to "
            "explain. Are they all the same picture, or are the model's weights all zero?"
        )
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    variances = np.clip(eigenvalues[::-1], 0, None)
    n_kept = cap_components(n_components, sums.n_images)
    components = _with_fixed_signs(eigenvectors.T[::-1][:n_kept])
    ratio = variances / variances.sum()
    return PcaModel(mean, components, ratio, sums.n_images, model_sha256)


def cap_components(requested: int, n_images: int) -> int:
    """How many components are possible: n images differ in n - 1 directions.

    >>> cap_components(50, 12), cap_components(50, 6000)
    (11, 50)
    """
    return max(1, min(requested, n_images - 1))


def few_images_note(requested: int, kept: int) -> str:
    """Why fewer components are kept than were requested."""
    return f"{requested} components are requested and {kept} kept: there are {kept + 1} images"


def require_valid_sums(sums: Sums) -> None:
    """Require sums of finite features.

    Raises:
        PcaError: a feature is not finite, or too large.
    """
    if not sums.is_valid:
        raise PcaError(
            "Some features are not finite, or too large. Materialize mobilenet_features again."
        )


def _rounding(sums: Sums) -> float:
    """Upper bound of the variance that results from rounding products and sums."""
    products = 1e-12 * float(sums.gram.diagonal().max()) * UNIT / sums.n_images
    return products + FEATURES * UNIT * (1 / sums.n_images + 1 / 2048)


def components_for(ratios: NDArray[np.float64], share: float) -> int:
    """The minimum number of components that explain at least `share` of the variance.

    Args:
        ratios: explained variance ratio of every component, the largest first.
        share: 0 to 1.
    """
    reached = np.cumsum(ratios) >= share - 1e-12
    return int(np.argmax(reached)) + 1


def variance_ratios(sums: Sums) -> NDArray[np.float64]:
    """Explained variance ratios of all components of a fit to these images: (1280,)"""
    variances = np.clip(np.linalg.eigvalsh(sums.covariance)[::-1], 0, None)
    total = variances.sum()
    ratios: NDArray[np.float64] = variances / total if total > 0 else variances
    return ratios


def _with_fixed_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return np.ascontiguousarray(components * signs[:, None])
