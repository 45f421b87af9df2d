"""Selects the unlabelled photos most worth labelling: uncertain, novel and diverse. No files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_src.evaluation.head import Head, Matrix

if TYPE_CHECKING:
    import pandas as pd

MOST = 50
"""How many photos are selected by default."""

COLUMNS = ["path", "image_id", "score", "uncertainty", "novelty", "suggested"]

_BLOCK = 4_096
_MINI_BATCH_ABOVE = 20_000
"""Number of photos above which mini-batch k-means is used."""


def choose(
    images: pd.DataFrame, vectors: Matrix, known: Matrix, head: Head, most: int = MOST
) -> pd.DataFrame:
    """Select the most useful photos, starting with the best of each cluster.

    Args:
        images: path and image_id of the unlabelled photos.
        vectors: (n, length): their components.
        known: (m, length): components of the training images.
        head: the head of the classifier, on components.
        most: maximum number of photos.

    Returns:
        Columns `COLUMNS`. `uncertainty` is the entropy of the probabilities, and `novelty` the
        distance to the nearest training image; both as ranks, 0 to 1. `score` is their mean.
    """
    import pandas as pd  # takes 0.5 s

    if images.empty:
        return pd.DataFrame({name: [] for name in COLUMNS})
    shares = head.probabilities(vectors)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    uncertainty, novelty = _ranks(entropy), _ranks(_distance(vectors, known))
    score = (uncertainty + novelty) / 2
    predicted = np.array(head.classes, object)[shares.argmax(axis=1)]
    found = images[["path", "image_id"]].assign(
        score=score, uncertainty=uncertainty, novelty=novelty, suggested=predicted
    )
    found["cluster"] = _clusters(vectors, min(most, len(images)))
    found = found.sort_values(["score", "path"], ascending=[False, True])
    found["round"] = found.groupby("cluster").cumcount()
    found = found.sort_values(["round", "score", "path"], ascending=[True, False, True])
    return found.head(most)[COLUMNS].reset_index(drop=True)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks scaled to 0 (smallest) to 1 (largest)."""
    ranks = values.argsort(kind="stable").argsort(kind="stable")
    return ranks / max(len(values) - 1, 1)


def _distance(vectors: Matrix, known: Matrix) -> NDArray[np.float64]:
    """Distance to the nearest known vector."""
    if not len(known):
        return np.ones(len(vectors))
    squares = np.einsum("ij,ij->i", known, known)
    nearest = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        squared = squares - 2 * (block @ known.T)
        least = squared.min(axis=1) + np.einsum("ij,ij->i", block, block)
        nearest[start : start + _BLOCK] = np.sqrt(np.maximum(least, 0))
    return nearest


def _clusters(vectors: Matrix, count: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans, MiniBatchKMeans  # takes 1 s; not installed on clusters

    kind = KMeans if len(vectors) <= _MINI_BATCH_ABOVE else MiniBatchKMeans
    return np.asarray(kind(count, random_state=360, n_init=1).fit_predict(vectors), np.int64)
