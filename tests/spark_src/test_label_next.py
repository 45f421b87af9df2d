"""The photos to label next are uncertain, novel and diverse."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spark_src.evaluation.head import Head
from spark_src.evaluation.label_next import COLUMNS, choose

HEAD = Head(("Apple", "Pear"), np.array([[4.0, 0.0], [-4.0, 0.0]]), np.zeros(2))
"""Predicts by the first value: uncertain at 0."""
KNOWN = np.array([[1, 0], [-1, 0]], np.float32)


def photos(*places: tuple[float, float]) -> tuple[pd.DataFrame, np.ndarray]:
    names = [f"photos/4711/{number}.jpg" for number in range(len(places))]
    return pd.DataFrame({"path": names, "image_id": names}), np.array(places, np.float32)


def test_uncertain_and_novel_photos_come_first() -> None:
    found = choose(*photos((1, 0), (-1, 0.1), (0, 5), (1, 0.1)), KNOWN, HEAD, most=1)
    assert found["path"].tolist() == ["photos/4711/2.jpg"]
    assert found["score"][0] == 1


def test_one_of_many_similar_photos_comes_before_the_others() -> None:
    alike = [(0, 5 + number / 1000) for number in range(30)]
    found = choose(*photos(*alike, (2, 0), (-2, 0)), KNOWN, HEAD, most=3)
    assert {"photos/4711/30.jpg", "photos/4711/31.jpg"} <= set(found["path"])


def test_without_unlabelled_photos_the_list_is_empty() -> None:
    no_photos = pd.DataFrame({"path": [], "image_id": []}), np.zeros((0, 2), np.float32)
    found = choose(*no_photos, KNOWN, HEAD)
    assert found.empty
    assert list(found.columns) == COLUMNS
