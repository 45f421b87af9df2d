"""The photos to label next: unsure ones, new ones, and not fifty of one kind."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spark_src.evaluation.head import Head
from spark_src.evaluation.label_next import COLUMNS, choose

HEAD = Head(("Apple", "Pear"), np.array([[4.0, 0.0], [-4.0, 0.0]]), np.zeros(2))
"""Tells by the first number: unsure where it is 0."""
KNOWN = np.array([[1, 0], [-1, 0]], np.float32)


def photos(*places: tuple[float, float]) -> tuple[pd.DataFrame, np.ndarray]:
    names = [f"photos/4711/{number}.jpg" for number in range(len(places))]
    return pd.DataFrame({"path": names, "image_id": names}), np.array(places, np.float32)


def test_what_the_classifier_is_unsure_of_and_has_not_seen_comes_first() -> None:
    found = choose(*photos((1, 0), (-1, 0.1), (0, 5), (1, 0.1)), KNOWN, HEAD, most=1)
    assert found["path"].tolist() == ["photos/4711/2.jpg"]
    assert found["score"][0] == 1


def test_of_many_that_are_alike_one_comes_before_the_others() -> None:
    alike = [(0, 5 + number / 1000) for number in range(30)]
    found = choose(*photos(*alike, (2, 0), (-2, 0)), KNOWN, HEAD, most=3)
    assert {"photos/4711/30.jpg", "photos/4711/31.jpg"} <= set(found["path"])


def test_without_unlabelled_photos_the_list_is_empty() -> None:
    nothing = pd.DataFrame({"path": [], "image_id": []}), np.zeros((0, 2), np.float32)
    found = choose(*nothing, KNOWN, HEAD)
    assert found.empty
    assert list(found.columns) == COLUMNS
