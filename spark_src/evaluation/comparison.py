"""Two models on the same held-out images: the difference, and how sure it is. No files."""

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
    """One question, answered by both models."""

    question: str
    held_out: str
    images: int
    groups: int
    """Films or persons, which are drawn as wholes: their images are no independent evidence."""
    current: float
    """The accuracy."""
    candidate: float
    low: float
    """Of the interval that the difference, candidate less current, lies in."""
    high: float

    @property
    def difference(self) -> float:
        """By how much the candidate is better."""
        return self.candidate - self.current

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is worse, and not by chance."""
        return self.high < 0

    @property
    def verdict(self) -> str:
        """In words."""
        if self.is_worse:
            return "worse"
        return "better" if self.low > 0 else "no difference that is sure"


def compare(images: pd.DataFrame, current: Matrix, candidate: Matrix) -> list[Comparison]:
    """Ask both models every question that can be asked.

    Args:
        images: path and label, one row an image.
        current: (n, length): what the current model makes of them.
        candidate: (n, length of its own): what the other does.
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
    """The interval of the mean difference, by a bootstrap that draws whole groups.

    Args:
        differences: (n,): of each image, 1 where only the candidate is right, -1 where only the
            current model is.
        groups: (n,): the number of each image's group.
    """
    sums, counts = np.bincount(groups, differences), np.bincount(groups)
    random = np.random.default_rng(360)
    drawn = random.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [rest, 1 - rest])
    return float(low), float(high)


def _group(path: str) -> str:
    """The film, or the person, that a picture is of."""
    person = person_of(path)
    if person is not None:
        return f"photos/{person}"
    folder, _, name = path.rpartition("/")
    label = folder.rpartition("/")[2]
    return f"{label} {name.partition('_')[0] if name.startswith('r') else 'r0'}"
