"""Finds likely label errors with a classifier and with the nearest pictures.

The classifier was not trained on the picture's film or person, so it finds mislabeled films. The
nearest pictures may be from the same film, so they find single mislabeled pictures.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spark_src.evaluation.head import Matrix, Numbers
from spark_src.evaluation.held_out import HeldOut

COLUMNS = [
    "path",
    "image_id",
    "label",
    "suggested",
    "score",
    "probability",
    "neighbours",
    "of_suggested",
    "neighbours_of_suggested",
    "issue",
]

NEIGHBOURS = 10
EXACT_PAIRS = 4_000_000_000
"""Above this number of pairs, an index finds the nearest."""
_BLOCK = 128
"""Rows compared at once: at most 32 MB of distances per thread."""
_GROUP = 32


def label_issues(images: pd.DataFrame, answers: list[HeldOut], vectors: Matrix) -> pd.DataFrame:
    """All labelled images that were held out, most likely label errors first.

    Args:
        images: path, image_id, label; indexed by the rows of the answers.
        answers: predictions for the questions of `folds`.
        vectors: (n, length): the images' components.

    Returns:
        Columns `COLUMNS`. `probability` is the classifier's for the given label (cleanlab's
        self-confidence), `neighbours` the share of the nearest images that have it, and `score`
        the sum of both minus that of the most likely other label. `issue` is true if the score is
        negative and confident learning (Northcutt et al. 2021) finds an error, too.
    """
    label_answers = [answer for answer in answers if answer.question != "kind of fruit"]
    if not label_answers:
        return pd.DataFrame({name: [] for name in COLUMNS})
    labelled = np.flatnonzero(images["label"].notna())
    labels = images["label"].to_numpy(object)[labelled].astype(str)
    near = nearest(vectors[labelled])
    positions = np.full(len(images), -1)
    positions[labelled] = np.arange(len(labelled))
    found = [
        _issues_of(images, answer, labels[near[positions[answer.rows]]]) for answer in label_answers
    ]
    issues = pd.concat(found).drop_duplicates("path")
    order = ["score", "path"]
    return issues.sort_values(order, ignore_index=True)[COLUMNS]


def nearest(vectors: Matrix, exact_pairs: int = EXACT_PAIRS) -> NDArray[np.int64]:
    """(n, at most `NEIGHBOURS`): the nearest rows of each row, excluding itself."""
    count = min(NEIGHBOURS, len(vectors) - 1)
    if len(vectors) ** 2 > exact_pairs:
        from usearch.index import Index  # not on a cluster

        index = Index(ndim=vectors.shape[1], metric="l2sq", dtype="f32")
        index.add(np.arange(len(vectors)), vectors)
        return _without_itself(index.search(vectors, count + 1).keys.astype(np.int64), count)
    squares = np.einsum("ij,ij->i", vectors, vectors)

    def nearest_of(start: int) -> NDArray[np.int64]:
        block = vectors[start : start + _BLOCK]
        squared = squares - 2 * (block @ vectors.T)
        squared[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        return smallest(squared, count)

    # NumPy uses one core here, but releases the GIL.
    with ThreadPoolExecutor(os.cpu_count(), "nearest") as pool:
        blocks = list(pool.map(nearest_of, range(0, len(vectors), _BLOCK)))
    return np.concatenate(blocks) if blocks else np.empty((0, count), np.int64)


def smallest(values: Matrix, count: int) -> NDArray[np.int64]:
    """(n, count): the columns of each row's smallest values, in any order.

    Like `argpartition`, but five times as fast for 48,000 columns: the smallest values are in the
    groups of columns with the smallest minima, and NumPy vectorizes the minimum.
    """
    width = values.shape[1] // _GROUP
    if width <= count:
        return np.argpartition(values, max(count - 1, 0), axis=1)[:, :count]
    grouped = values[:, : width * _GROUP].reshape(len(values), _GROUP, width)
    groups = np.argpartition(grouped.min(axis=1), count - 1, axis=1)[:, :count]
    columns = (groups[:, :, None] + np.arange(_GROUP) * width).reshape(len(values), -1)
    rest = np.arange(width * _GROUP, values.shape[1])
    columns = np.hstack([columns, np.broadcast_to(rest, (len(values), len(rest)))])
    candidates = np.take_along_axis(values, columns, axis=1)
    chosen = np.argpartition(candidates, count - 1, axis=1)[:, :count]
    return np.take_along_axis(columns, chosen, axis=1)


def _without_itself(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    own = keys == np.arange(len(keys))[:, None]
    order = np.argsort(own, axis=1, kind="stable")
    return np.take_along_axis(keys, order, axis=1)[:, :count]


def _issues_of(
    images: pd.DataFrame, answer: HeldOut, near_labels: NDArray[np.str_]
) -> pd.DataFrame:
    shares, given = answer.probabilities(), answer.given
    each = np.arange(len(given))
    votes = _votes(near_labels, answer.classes)
    both = shares + votes
    others = both.copy()
    others[each, given] = -1
    suggested = others.argmax(axis=1)
    score = both[each, given] - others[each, suggested]
    rows = images.iloc[answer.rows]
    classes = np.array(answer.classes, object)
    return pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "image_id": rows["image_id"].to_numpy(),
            "label": classes[given],
            "suggested": classes[suggested],
            "score": score,
            "probability": shares[each, given],
            "neighbours": votes[each, given],
            "of_suggested": shares[each, suggested],
            "neighbours_of_suggested": votes[each, suggested],
            "issue": (score < 0) & _is_confident_issue(shares, given),
        }
    )


def _votes(near_labels: NDArray[np.str_], classes: tuple[str, ...]) -> Numbers:
    """(n, classes): the share of the nearest images with each label."""
    columns = np.searchsorted(classes, near_labels)
    known = np.array(classes)[np.minimum(columns, len(classes) - 1)] == near_labels
    votes = np.zeros((len(near_labels), len(classes)))
    rows = np.repeat(np.arange(len(near_labels)), near_labels.shape[1])
    np.add.at(votes, (rows[known.ravel()], columns.ravel()[known.ravel()]), 1)
    shares: Numbers = votes / max(near_labels.shape[1], 1)
    return shares


def _is_confident_issue(shares: Numbers, given: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the most likely label above its threshold differs from the given one.

    A label's threshold is its mean probability over the images with this label.
    """
    classes = shares.shape[1]
    counts = np.bincount(given, minlength=classes)
    sums = np.bincount(given, shares[np.arange(len(given)), given], minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(shares >= thresholds, shares, -1)
    likeliest = confident.argmax(axis=1)
    return np.asarray((confident.max(axis=1) > 0) & (likeliest != given))
