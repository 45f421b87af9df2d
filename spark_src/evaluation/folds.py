"""Evaluation questions and their folds, which keep all frames of a rotation video together.

A random split would be meaningless: consecutive frames of a fruit are almost identical, so any
features would score about 100 %.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_src.images.layout import person_of, split_and_label

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5

# File names in Fruits-360: `r2_12_100.jpg` is frame 12 of the film of the rotation about the third
# axis, 100 pixels wide. The first axis has no `r`, or `r0`.
FRAME = re.compile(r"(?:(r\d*)_)?\d+(?:_\d+)?")
WORD_END = re.compile(r"[\s_-]")


@dataclass(frozen=True, eq=False)
class Folds:
    """One evaluation question. Each fold is predicted by a model trained on all others."""

    question: str
    held_out: str
    """Description of the groups that are never split between training and test."""
    requirement: str
    """The images that the question is about."""
    rows: NDArray[np.int64]
    """(n,): indices of the images to evaluate."""
    target: NDArray[np.object_]
    """(n,): the class of each image."""
    fold: NDArray[np.int64]
    """(n,): fold of the image; -1 for training only, if no other fold has its class."""
    group: NDArray[np.object_]
    """(n,): the image's group, all of which is in one fold: its fruit, film or person."""

    @property
    def reason_not_asked(self) -> str | None:
        """The reason the question does not apply to these images, or None."""
        if not len(self.rows):
            return f"there are no {self.requirement}"
        if len(set(self.target[self.fold >= 0])) < 2:
            return "fewer than two classes have images for training and test"
        return None


def questions(images: pd.DataFrame) -> list[Folds]:
    """All questions, including those that do not apply to these images.

    Args:
        images: columns path and label, one row per image, indexed 0 to n - 1.
    """
    rows = images.assign(
        subject=images["path"].map(person_of),
        axis=images["path"].map(rotation_axis),
        fruit=images["path"].map(lambda path: split_and_label(path)[1]),
    ).dropna(subset="label")
    # A corrected label does not move a frame to another film: its folder names the fruit.
    rows["fruit"] = rows["fruit"].fillna(rows["label"])
    rows["film"] = rows["fruit"].astype(str) + "/" + rows["axis"].astype(str)
    rows["kind"] = rows["label"].map(_first_word)
    rows["family"] = rows["fruit"].map(_first_word)
    fruits = rows[rows["subject"].isna()]
    films = fruits.dropna(subset="axis")
    photos = rows.dropna(subset="subject")
    fruit_rank = _ranks(fruits, "fruit", within="family")
    film_rank, person_rank = _ranks(films, "axis", within="fruit"), _ranks(photos, "subject")
    fruits = fruits.assign(target=fruits["kind"], group=fruits["fruit"], rank=fruit_rank)
    films = films.assign(target=films["label"], group=films["film"], rank=film_rank)
    photos = photos.assign(target=photos["label"], group=photos["subject"], rank=person_rank)
    return [
        _folds("kind of fruit", "fruits", "labelled images outside photos/", fruits),
        _folds(
            "fruit",
            "rotation axes",
            "labelled images with file names like those of Fruits-360",
            films,
        ),
        _folds("label of a photo", "people", "labelled photos in photos/<person>/", photos),
    ]


def rotation_axis(path: str) -> str | None:
    """The rotation axis from a file name, or None."""
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    frame = FRAME.fullmatch(name)
    return (frame[1] or "r0") if frame else None


def _first_word(label: str) -> str:
    return WORD_END.split(label.strip(), maxsplit=1)[0].lower()


def _ranks(rows: pd.DataFrame, column: str, within: str | None = None) -> pd.Series:
    """Number the groups of each class 0, 1, 2, … in the order of their names."""
    if within is None:
        return rows[column].rank(method="dense").sub(1)
    return rows.groupby(within)[column].rank(method="dense").sub(1)


def _folds(question: str, held_out: str, requirement: str, rows: pd.DataFrame) -> Folds:
    """The folds of images with a target, a group, and the group's rank in its class."""
    fold = rows["rank"].astype(np.int64) % FOLDS
    known = fold.groupby(rows["target"]).transform("nunique") > 1
    return Folds(
        question,
        held_out,
        requirement,
        rows.index.to_numpy(np.int64),
        rows["target"].to_numpy(object),
        fold.where(known, -1).to_numpy(np.int64),
        rows["group"].to_numpy(object),
    )
