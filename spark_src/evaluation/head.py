"""Linear discriminant analysis from sums. No files, no Spark.

As in PCA, the sums are integers, so images can be added and subtracted exactly: erasing an image is
a subtraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_src.errors import ClassifierError
from spark_src.pca.model import UNIT, PcaModel, Sums
from spark_src.tables.vectors import FEATURES

SHRINKAGE = 0.01
"""Share of the within-class covariance replaced by its mean variance in all directions. Chosen with
`python -m benchmarks.classifier`."""

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Sums over a set of labelled images that the classifier is trained on."""

    sums: Sums
    classes: tuple[str, ...]
    """Sorted names of classes with at least one image."""
    counts: NDArray[np.int64]
    """(classes,): number of images."""
    totals: NDArray[np.int64]
    """(classes, 1280): summed features, in `UNIT`."""

    @classmethod
    def zero(cls) -> ClassSums:
        """Sums of no images."""
        return cls(Sums.zero(), (), np.zeros(0, np.int64), np.zeros((0, FEATURES), np.int64))

    @classmethod
    def from_features(cls, features: Matrix, labels: Sequence[str]) -> ClassSums:
        """Sums of a block of images: features (n, 1280) and one label each."""
        if not len(features):
            return cls.zero()
        classes, which, counts = np.unique(
            np.asarray(labels, object).astype(str), return_inverse=True, return_counts=True
        )
        totals = np.zeros((len(classes), FEATURES))
        np.add.at(totals, which, features.astype(np.float64))
        in_units = np.rint(totals / UNIT).astype(np.int64)
        names = tuple(str(name) for name in classes)
        return cls(Sums.from_features(features), names, counts.astype(np.int64), in_units)

    def __add__(self, other: ClassSums) -> ClassSums:
        return self._combine(other, 1)

    def __sub__(self, other: ClassSums) -> ClassSums:
        return self._combine(other, -1)

    def _combine(self, other: ClassSums, sign: int) -> ClassSums:
        classes = sorted({*self.classes, *other.classes})
        counts = self._spread(self.counts, classes) + sign * other._spread(other.counts, classes)
        totals = self._spread(self.totals, classes) + sign * other._spread(other.totals, classes)
        present = counts > 0
        names = tuple(name for name, some in zip(classes, present, strict=True) if some)
        sums = self.sums + other.sums if sign > 0 else self.sums - other.sums
        return ClassSums(sums, names, counts[present], totals[present])

    def _spread(self, values: NDArray[np.int64], classes: list[str]) -> NDArray[np.int64]:
        """Values reindexed to a list of classes, zero for missing ones."""
        found = np.zeros((len(classes), *values.shape[1:]), np.int64)
        found[np.searchsorted(np.array(classes, object), np.array(self.classes, object))] = values
        return found


@dataclass(frozen=True, eq=False)
class Head:
    """Maps features or components to class probabilities."""

    classes: tuple[str, ...]
    weights: Numbers
    """(classes, 1280), or (classes, n_components)."""
    offsets: Numbers
    """(classes,)"""
    temperature: float = 1.0
    """Divisor of the logits that calibrates the probabilities."""

    def logits(self, vectors: NDArray[np.floating]) -> Numbers:
        """(n, classes), before the temperature."""
        return vectors.astype(np.float64) @ self.weights.T + self.offsets

    def probabilities(self, vectors: NDArray[np.floating]) -> Numbers:
        """(n, classes); each row adds up to 1."""
        return softmax(self.logits(vectors) / self.temperature)


def fit_head(sums: ClassSums, pca: PcaModel | None = None, shrinkage: float = SHRINKAGE) -> Head:
    """Linear discriminant analysis with a shrunk covariance.

    Args:
        sums: sums of the training images.
        pca: if given, the head takes its components instead of the features.
        shrinkage: 0 to 1.

    Raises:
        ClassifierError: there are fewer than two classes, or features that are not finite.
    """
    if len(sums.classes) < 2:
        raise ClassifierError(
            f"A classifier needs images of at least two labels, but the training split has "
            f"{len(sums.classes)}. Put pictures into folders named by their labels."
        )
    if not sums.sums.is_valid:
        raise ClassifierError(
            "Some features are not finite. Recompute them with: uv run dagster asset materialize "
            "--select mobilenet_features"
        )
    counts, n_images = sums.counts.astype(np.float64), sums.sums.n_images
    means = sums.totals.astype(np.float64) * UNIT / counts[:, None]
    second = sums.sums.gram.astype(np.float64) * (UNIT / n_images)
    within = second - (means.T * (counts / n_images)) @ means
    if pca is not None:
        means = (means - pca.mean) @ pca.components.T
        within = pca.components @ within @ pca.components.T
    return discriminant(sums.classes, counts, means, within, shrinkage)


def discriminant(
    classes: tuple[str, ...],
    counts: Numbers,
    means: Numbers,
    within: Numbers,
    shrinkage: float = SHRINKAGE,
) -> Head:
    """The head for given class counts, means and covariance.

    Args:
        classes: class names.
        counts: (classes,): number of images.
        means: (classes, length): mean vectors.
        within: (length, length): within-class covariance.
        shrinkage: 0 to 1.
    """
    size = len(within)
    mean_variance = within.trace() / size
    shrunk = within * (1 - shrinkage)
    shrunk[np.diag_indices(size)] += (mean_variance or 1.0) * max(shrinkage, 1e-6)
    weights = np.asarray(np.linalg.solve(shrunk, means.T).T, np.float64)
    offsets = np.log(counts / counts.sum()) - (means * weights).sum(axis=1) / 2
    return Head(classes, weights, offsets)


def softmax(logits: Numbers) -> Numbers:
    """Softmax of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(logits: Numbers, targets: NDArray[np.int64]) -> float:
    """The temperature that maximises the likelihood of the classes (Guo et al. 2017).

    Args:
        logits: (n, classes) of held-out images.
        targets: (n,): the column of each image's class.
    """
    from scipy.optimize import minimize_scalar

    def negative_log_likelihood(log_temperature: float) -> float:
        shares = softmax(logits / np.exp(log_temperature))
        return -float(np.log(np.maximum(shares[np.arange(len(targets)), targets], 1e-12)).mean())

    found = minimize_scalar(negative_log_likelihood, bounds=(-3, 6), method="bounded")
    return float(np.exp(found.x))
