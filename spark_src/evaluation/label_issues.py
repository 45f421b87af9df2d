"""Finds likely label errors with a classifier and with the nearest pictures.

The classifier was not trained on the picture's film or person, so it finds mislabelled films. The
nearest pictures may be from the same film, so they find single mislabelled pictures.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spark_src.evaluation.head import Numbers
from spark_src.evaluation.held_out import HeldOut
from spark_src.evaluation.neighbours import Rows

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


def label_issues(images: pd.DataFrame, answers: list[HeldOut], near: Rows) -> pd.DataFrame:
    """All labelled images that were held out, most likely label errors first.

    Args:
        images: path, image_id, label; indexed by the rows of the answers.
        answers: predictions for the questions of `folds`.
        near: (labelled images, neighbours): the nearest labelled images of each, by position.

    Returns:
        Columns `COLUMNS`. `probability` is the classifier's for the given label (cleanlab's
        self-confidence), and `neighbours` is the share of the nearest images that have it. `score`
        is the sum of both minus that of the most likely other label. `issue` is true if the score
        is negative and confident learning (Northcutt et al. 2021) also finds an error.
    """
    label_answers = [answer for answer in answers if answer.question != "kind of fruit"]
    if not label_answers:
        return pd.DataFrame({name: [] for name in COLUMNS})
    labelled = np.flatnonzero(images["label"].notna())
    labels = images["label"].to_numpy(object)[labelled].astype(str)
    positions = np.full(len(images), -1)
    positions[labelled] = np.arange(len(labelled))
    found = [
        _issues_of(images, answer, labels[near[positions[answer.rows]]]) for answer in label_answers
    ]
    issues = pd.concat(found).drop_duplicates("path")
    order = ["score", "path"]
    return issues.sort_values(order, ignore_index=True)[COLUMNS]


def _issues_of(
    images: pd.DataFrame, answer: HeldOut, near_labels: NDArray[np.str_]
) -> pd.DataFrame:
    shares, given = answer.probabilities(), answer.given
    each = np.arange(len(given))
    votes = _votes(near_labels, answer.classes)
    combined = shares + votes
    others = combined.copy()
    others[each, given] = -1
    suggested = others.argmax(axis=1)
    score = combined[each, given] - others[each, suggested]
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
