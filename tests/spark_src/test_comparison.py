"""A candidate is only called worse if the difference is significant."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_src.evaluation.comparison import compare, interval
from spark_src.tables.model_comparison import Comparison

LABELS = [f"{kind} {number}" for kind in ("Apple", "Pear") for number in range(4)]


def film_frames() -> pd.DataFrame:
    rows = [
        (f"Training/{label}/r{axis}_{frame}_100.jpg", label)
        for label in LABELS
        for axis in range(3)
        for frame in range(10)
    ]
    return pd.DataFrame(rows, columns=["path", "label"])


def vectors(noise: float, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(len(LABELS), 12))
    labels = np.repeat(np.arange(len(LABELS)), 30)
    return (centres[labels] + random.normal(size=(240, 12)) * noise).astype(np.float32)


def fruit_comparison(found: list[Comparison]) -> Comparison:
    (answer,) = [one for one in found if one.question == "fruit"]
    return answer


@pytest.mark.parametrize(
    ("current", "candidate", "verdict"),
    [(0.3, 3.0, "worse"), (3.0, 0.3, "better"), (0.3, 0.3, "no significant difference")],
)
def test_the_verdict_matches_the_constructed_vectors(
    current: float, candidate: float, verdict: str
) -> None:
    found = fruit_comparison(compare(film_frames(), vectors(current), vectors(candidate, seed=2)))
    assert (found.images, found.groups) == (240, 24)
    assert found.verdict == verdict
    assert found.low <= found.difference <= found.high


def test_the_groups_that_are_resampled_are_those_that_were_held_out() -> None:
    """Varieties for kinds of fruit: the frames of a held-out variety are not independent."""
    found = compare(film_frames(), vectors(0.3), vectors(0.3, seed=2))
    assert {one.question: one.groups for one in found} == {"kind of fruit": 8, "fruit": 24}


def test_images_of_one_group_count_as_one_observation() -> None:
    """A hundred frames of four films count as four observations."""
    groups = np.repeat(np.arange(4), 25)
    differences = np.where(groups == 0, -1.0, 0.1)
    low, high = interval(differences, groups)
    assert low < -0.7 < high
    assert high > 0
    ungrouped = interval(differences, np.arange(100))
    assert ungrouped[1] < 0
