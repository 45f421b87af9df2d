"""What an embedding is asked, and who is held out: no film's frames are on both sides. No files.

A random split would ask nothing: neighbouring frames of one fruit are almost the same picture, so
that any features at all score about 100 %.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spark_src.images.layout import person_of

FOLDS = 5

# As Fruits-360 names its frames: `r2_12_100.jpg` is frame 12 of the film in which the fruit turns
# about its third axis, 100 pixels wide. The first axis has no `r`, or `r0`.
FRAME = re.compile(r"(?:(r\d*)_)?\d+(?:_\d+)?")
WORD_END = re.compile(r"[\s_-]")


@dataclass(frozen=True, eq=False)
class Folds:
    """One question: what is predicted of which images. Each fold: from all others."""

    question: str
    held_out: str
    """What the two sides never share, in words."""
    rows: NDArray[np.int64]
    """(n,): which of the images it is about."""
    target: NDArray[np.object_]
    """(n,): what has to be predicted for each."""
    fold: NDArray[np.int64]
    """(n,): when the image is asked for; -1 where its class has nothing else to learn it from."""

    @property
    def reason_not_asked(self) -> str | None:
        """Why the question cannot be asked of these images; None where it can."""
        if not len(self.rows):
            return "no image has a path that says what it takes"
        if len(set(self.target[self.fold >= 0])) < 2:
            return "fewer than two classes have images on both sides"
        return None


def questions(images: pd.DataFrame) -> list[Folds]:
    """Every question there is, also those that cannot be asked of these images.

    Args:
        images: columns path and label, one row an image, indexed 0 to n - 1.
    """
    facts = images.assign(
        subject=images["path"].map(person_of), axis=images["path"].map(_axis)
    ).dropna(subset="label")
    facts["kind"] = facts["label"].map(_first_word)
    own = facts[facts["subject"].isna()]
    films = own.dropna(subset="axis")
    photos = facts.dropna(subset="subject")
    return [
        _folds("kind of fruit", "fruits", own, "kind", _ranks(own, "label", within="kind")),
        _folds("fruit", "rotation axes", films, "label", _ranks(films, "axis", within="label")),
        _folds("label of a photo", "people", photos, "label", _ranks(photos, "subject")),
    ]


def _axis(path: str) -> str | None:
    """The axis that the name says the fruit turns about; None for any other name."""
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    frame = FRAME.fullmatch(name)
    return (frame[1] or "r0") if frame else None


def _first_word(label: str) -> str:
    return WORD_END.split(label.strip(), maxsplit=1)[0].lower()


def _ranks(rows: pd.DataFrame, column: str, within: str | None = None) -> pd.Series:
    """0, 1, 2, … for the groups of each class, in the order of their names."""
    if within is None:
        return rows[column].rank(method="dense").sub(1)
    return rows.groupby(within)[column].rank(method="dense").sub(1)


def _folds(
    question: str, held_out: str, rows: pd.DataFrame, target: str, ranks: pd.Series
) -> Folds:
    fold = ranks.astype(np.int64) % FOLDS
    known = fold.groupby(rows[target]).transform("nunique") > 1
    return Folds(
        question,
        held_out,
        rows.index.to_numpy(np.int64),
        rows[target].to_numpy(object),
        fold.where(known, -1).to_numpy(np.int64),
    )
