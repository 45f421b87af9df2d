"""Labels that a picture's own look speaks against, by probabilities that did not learn from it.

Confident learning (Northcutt et al. 2021): an image is an issue where another label is likelier
than that label is, on average, for the images that have it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from spark_src.evaluation.head import Numbers
from spark_src.evaluation.held_out import HeldOut

COLUMNS = [
    "path",
    "image_id",
    "label",
    "suggested",
    "probability",
    "of_suggested",
    "margin",
    "issue",
]


def label_issues(images: pd.DataFrame, answers: list[HeldOut]) -> pd.DataFrame:
    """Every labelled image that was held out once, the likeliest to be mislabelled first.

    Args:
        images: path, image_id, label; as the answers' rows count them.
        answers: to questions for labels.

    Returns:
        Columns `COLUMNS`: `probability` is that of the given label (self-confidence), `margin` that
        less the greatest of another, `issue` whether confident learning calls it one.
    """
    found = [_of_answer(images, answer) for answer in answers if _is_for_labels(answer)]
    if not found:
        return pd.DataFrame({name: [] for name in COLUMNS})
    together = pd.concat(found).drop_duplicates("path")
    order = ["issue", "margin", "path"]
    return together.sort_values(order, ascending=[False, True, True], ignore_index=True)[COLUMNS]


def _is_for_labels(answer: HeldOut) -> bool:
    return answer.question != "kind of fruit"


def _of_answer(images: pd.DataFrame, answer: HeldOut) -> pd.DataFrame:
    shares, given = answer.probabilities(), answer.given
    each = np.arange(len(given))
    own = shares[each, given]
    others = shares.copy()
    others[each, given] = -1
    suggested = others.argmax(axis=1)
    rows = images.iloc[answer.rows]
    classes = np.array(answer.classes, object)
    return pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "image_id": rows["image_id"].to_numpy(),
            "label": classes[given],
            "suggested": classes[suggested],
            "probability": own,
            "of_suggested": others[each, suggested],
            "margin": own - others[each, suggested],
            "issue": _is_issue(shares, given),
        }
    )


def _is_issue(shares: Numbers, given: np.ndarray) -> np.ndarray:
    """Whether the likeliest of the labels that pass their own thresholds is not the given one.

    A label's threshold is the mean probability that the images which have it are given for it.
    """
    classes = shares.shape[1]
    counts = np.bincount(given, minlength=classes)
    sums = np.bincount(given, shares[np.arange(len(given)), given], minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(shares >= thresholds, shares, -1)
    likeliest = confident.argmax(axis=1)
    return (confident.max(axis=1) > 0) & (likeliest != given)
