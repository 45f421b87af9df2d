"""Compares two models on the same held-out images, with confidence intervals. No files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spark_src.evaluation.head import Matrix
from spark_src.evaluation.held_out import HeldOut, hold_out
from spark_src.images.layout import person_of

RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """The accuracies of both models on one question."""

    question: str
    held_out: str
    images: int
    groups: int
    """Films or persons, resampled as units because their images are not independent."""
    current: float
    """Accuracy of the current model."""
    candidate: float
    """Accuracy of the candidate."""
    low: float
    """Lower bound of the confidence interval of the difference, candidate minus current."""
    high: float
    """Upper bound."""

    @property
    def difference(self) -> float:
        """Accuracy of the candidate minus that of the current model."""
        return self.candidate - self.current

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is significantly worse."""
        return self.high < 0

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.is_worse:
            return "worse"
        return "better" if self.low > 0 else "no significant difference"


def compare(images: pd.DataFrame, current: Matrix, candidate: Matrix) -> list[Comparison]:
    """Evaluate both models on every applicable question.

    Args:
        images: path and label, one row per image.
        current: (n, length): vectors of the current model.
        candidate: (n, other length): vectors of the candidate.
    """
    both = zip(hold_out(images, current), hold_out(images, candidate), strict=True)
    return [_compared(images, *answers) for answers in both]


def _compared(images: pd.DataFrame, current: HeldOut, candidate: HeldOut) -> Comparison:
    rows = images.iloc[current.rows]
    groups = pd.factorize(rows["path"].map(_group))[0]
    right = [answer.predicted == answer.given for answer in (current, candidate)]
    low, high = interval(right[1].astype(float) - right[0], groups)
    return Comparison(
        current.question,
        current.held_out,
        len(rows),
        int(groups.max()) + 1,
        current.accuracy,
        candidate.accuracy,
        low,
        high,
    )


def interval(differences: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Confidence interval of the mean difference, by a bootstrap over groups.

    Args:
        differences: (n,): for each image 1 if only the candidate is correct, -1 if only the current
            model is, otherwise 0.
        groups: (n,): the index of each image's group.
    """
    sums, counts = np.bincount(groups, differences), np.bincount(groups)
    random = np.random.default_rng(360)
    drawn = random.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _group(path: str) -> str:
    """The film or person of a picture."""
    person = person_of(path)
    if person is not None:
        return f"photos/{person}"
    folder, _, name = path.rpartition("/")
    label = folder.rpartition("/")[2]
    return f"{label} {name.partition('_')[0] if name.startswith('r') else 'r0'}"
