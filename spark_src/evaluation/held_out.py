"""Out-of-fold predictions of the classifier and their metrics. No files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_src.evaluation.folds import Folds, questions
from spark_src.evaluation.head import (
    SHRINKAGE,
    Head,
    Matrix,
    Numbers,
    discriminant,
    fit_temperature,
    softmax,
)

if TYPE_CHECKING:
    import pandas as pd

BINS = 15
"""Confidence bins of the expected calibration error (Guo et al. 2017)."""

_IMPOSSIBLE = -1e9
"""The logit of a class without training images."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Out-of-fold predictions for one question."""

    question: str
    held_out: str
    rows: NDArray[np.int64]
    """(n,): indices of the images that were predicted."""
    given: NDArray[np.int64]
    """(n,): the true class of each, as a column of the logits."""
    classes: tuple[str, ...]
    logits: Numbers
    """(n, classes), before the temperature."""
    fold: NDArray[np.int64]
    """(n,): the fold of each."""
    group: NDArray[np.object_]
    """(n,): the group of each, which was held out as a whole."""
    temperature: float
    """Fitted on all predictions, for the exported classifier."""

    @cached_property
    def held_out_temperatures(self) -> Numbers:
        """(n, 1): each fold's temperature, fitted on the other folds.

        Calibration measured with `temperature` would be measured on the images it was fitted on.
        """
        found = np.empty((len(self.given), 1))
        for number in np.unique(self.fold):
            is_test = self.fold == number
            found[is_test] = fit_temperature(self.logits[~is_test], self.given[~is_test])
        return found

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,): the most likely class of each."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float((self.predicted == self.given).mean())

    def probabilities(self, temperature: float | None = None) -> Numbers:
        """(n, classes), with the temperatures of the other folds, or the given one."""
        return softmax(self.logits / (temperature or self.held_out_temperatures))

    def calibration_error(self, temperature: float | None = None) -> float:
        """Expected calibration error: mean gap between confidence and accuracy over `BINS`."""
        shares = self.probabilities(temperature)
        sure, right = shares.max(axis=1), self.predicted == self.given
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [
            abs(sure[place == number].mean() - right[place == number].mean())
            * (place == number).mean()
            for number in np.unique(place)
        ]
        return float(sum(gaps))

    def per_class(self) -> dict[str, tuple[int, float]]:
        """Class -> number of held-out images and accuracy."""
        right = self.predicted == self.given
        return {
            self.classes[number]: (
                int((self.given == number).sum()),
                float(right[self.given == number].mean()),
            )
            for number in np.unique(self.given)
        }

    def confusions(self, most: int = 10) -> list[tuple[str, str, int]]:
        """The most frequently confused pairs: given class, predicted class, count."""
        wrong = self.predicted != self.given
        pairs = Counter(
            zip(self.given[wrong].tolist(), self.predicted[wrong].tolist(), strict=True)
        )
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [
            (self.classes[given], self.classes[predicted], n) for (given, predicted), n in ordered
        ]


def hold_out(images: pd.DataFrame, vectors: Matrix, shrinkage: float = SHRINKAGE) -> list[HeldOut]:
    """Predict every applicable question by cross-validation.

    Args:
        images: columns path and label, one row per image, indexed 0 to n - 1.
        vectors: (n, length): features or components.
        shrinkage: shrinkage of the covariance.
    """
    applicable = [folds for folds in questions(images) if folds.reason_not_asked is None]
    return [_predict(folds, vectors, shrinkage) for folds in applicable]


@dataclass(frozen=True, eq=False)
class _Moments:
    """Counts and summed vectors by class, and the summed outer products of all images."""

    counts: Numbers
    totals: Numbers
    products: Numbers

    @classmethod
    def from_vectors(cls, vectors: Matrix, which: NDArray[np.int64], classes: int) -> _Moments:
        exact = vectors.astype(np.float64)
        member = np.zeros((classes, len(exact)))
        member[which, np.arange(len(exact))] = 1
        return cls(member.sum(axis=1), member @ exact, exact.T @ exact)

    def without(self, other: _Moments) -> _Moments:
        return _Moments(
            self.counts - other.counts, self.totals - other.totals, self.products - other.products
        )

    def head(self, classes: tuple[str, ...], shrinkage: float) -> tuple[Head, NDArray[np.int64]]:
        """The classifier trained on these images, and the indices of its classes."""
        known = np.flatnonzero(self.counts)
        counts = self.counts[known]
        means = self.totals[known] / counts[:, None]
        n_images = counts.sum()
        within = self.products / n_images - (means.T * (counts / n_images)) @ means
        names = tuple(classes[number] for number in known)
        return discriminant(names, counts, means, within, shrinkage), known


def _predict(folds: Folds, vectors: Matrix, shrinkage: float) -> HeldOut:
    vectors = vectors[folds.rows]
    classes, which = np.unique(folds.target.astype(str), return_inverse=True)
    names = tuple(str(name) for name in classes)
    logits = np.full((len(which), len(names)), _IMPOSSIBLE)
    total = _Moments.from_vectors(vectors, which, len(names))
    for number in np.unique(folds.fold[folds.fold >= 0]):
        is_test = folds.fold == number
        test = _Moments.from_vectors(vectors[is_test], which[is_test], len(names))
        head, known = total.without(test).head(names, shrinkage)
        logits[np.ix_(np.flatnonzero(is_test), known)] = head.logits(vectors[is_test])
    kept = folds.fold >= 0
    given = np.asarray(which[kept], np.int64)
    rows, answers = folds.rows[kept], logits[kept]
    return HeldOut(
        folds.question,
        folds.held_out,
        rows,
        given,
        names,
        answers,
        folds.fold[kept],
        folds.group[kept],
        fit_temperature(answers, given),
    )
