"""A linear classifier by sums: linear discriminant analysis. No files, no Spark.

All it needs of the images are whole numbers that add up and can be taken away to the last bit, as
PCA's: to forget an image exactly is a subtraction.
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
"""Share of the within-class covariance that is replaced by its mean variance in all directions;
`python -m benchmarks.classifier` is what it is chosen by."""

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassSums:
    """What the classifier needs of a set of labelled images."""

    sums: Sums
    classes: tuple[str, ...]
    """By name; each has an image."""
    counts: NDArray[np.int64]
    """(classes,): images of each."""
    totals: NDArray[np.int64]
    """(classes, 1280): the features of each summed, in `UNIT`."""

    @classmethod
    def zero(cls) -> ClassSums:
        """Those of no image."""
        return cls(Sums.zero(), (), np.zeros(0, np.int64), np.zeros((0, FEATURES), np.int64))

    @classmethod
    def from_features(cls, features: Matrix, labels: Sequence[str]) -> ClassSums:
        """Those of a block of images: features (n, 1280) and a label for each."""
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
        return self._with(other, 1)

    def __sub__(self, other: ClassSums) -> ClassSums:
        return self._with(other, -1)

    def _with(self, other: ClassSums, sign: int) -> ClassSums:
        classes = sorted({*self.classes, *other.classes})
        counts = self._spread(self.counts, classes) + sign * other._spread(other.counts, classes)
        totals = self._spread(self.totals, classes) + sign * other._spread(other.totals, classes)
        left = counts > 0
        names = tuple(name for name, some in zip(classes, left, strict=True) if some)
        sums = self.sums + other.sums if sign > 0 else self.sums - other.sums
        return ClassSums(sums, names, counts[left], totals[left])

    def _spread(self, values: NDArray[np.int64], classes: list[str]) -> NDArray[np.int64]:
        """Rows of the values at the places of their classes among others."""
        found = np.zeros((len(classes), *values.shape[1:]), np.int64)
        found[np.searchsorted(np.array(classes, object), np.array(self.classes, object))] = values
        return found


@dataclass(frozen=True, eq=False)
class Head:
    """Features, or components, to a probability of each class."""

    classes: tuple[str, ...]
    weights: Numbers
    """(classes, 1280), or (classes, n_components)."""
    offsets: Numbers
    """(classes,)"""
    temperature: float = 1.0
    """What logits are divided by, so that probabilities are shares of those that are right."""

    def logits(self, vectors: NDArray[np.floating]) -> Numbers:
        """(n, classes), before the temperature."""
        return vectors.astype(np.float64) @ self.weights.T + self.offsets

    def probabilities(self, vectors: NDArray[np.floating]) -> Numbers:
        """(n, classes); each row adds up to 1."""
        return softmax(self.logits(vectors) / self.temperature)


def fit_head(sums: ClassSums, pca: PcaModel | None = None, shrinkage: float = SHRINKAGE) -> Head:
    """Linear discriminant analysis with a shrunk covariance.

    Args:
        sums: of the images to learn from.
        pca: to learn from the components that it gives, and not from the features.
        shrinkage: 0 to 1.

    Raises:
        ClassifierError: there are fewer than two classes, or features that are not finite.
    """
    if len(sums.classes) < 2:
        raise ClassifierError(
            f"A classifier needs images of two labels at least; the split that is learnt from has "
            f"{len(sums.classes)}. Put pictures into folders that are named by their labels."
        )
    if not sums.sums.is_valid:
        raise ClassifierError(
            "Some features are not finite. Make them anew with: uv run dagster asset materialize "
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
    """The head that follows from what is known of the classes.

    Args:
        classes: their names.
        counts: (classes,): images of each.
        means: (classes, length): of their vectors.
        within: (length, length): the covariance within classes.
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
    """Each row's exponentials as shares of their sum."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(logits: Numbers, right: NDArray[np.int64]) -> float:
    """The temperature under which the right classes are likeliest (Guo et al. 2017).

    Args:
        logits: (n, classes) of images that were not learnt from.
        right: (n,): the column of each image's class.
    """
    from scipy.optimize import minimize_scalar

    def surprise(log_temperature: float) -> float:
        shares = softmax(logits / np.exp(log_temperature))
        return -float(np.log(np.maximum(shares[np.arange(len(right)), right], 1e-12)).mean())

    found = minimize_scalar(surprise, bounds=(-3, 6), method="bounded")
    return float(np.exp(found.x))
