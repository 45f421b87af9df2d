"""Questions, their images and folds. Related images are never in both training and test data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_src.evaluation.folds import Folds, questions
from spark_src.images.layout import split_and_label


def images(*paths: str) -> pd.DataFrame:
    labels = [split_and_label(path)[1] for path in paths]
    return pd.DataFrame({"path": list(paths), "label": labels})


def films(label: str, *axes: str, frames: int = 3) -> list[str]:
    return [f"Training/{label}/{axis}{n}_100.jpg" for axis in axes for n in range(frames)]


def folds_by_question(*paths: str) -> dict[str, Folds]:
    return {folds.question: folds for folds in questions(images(*paths))}


def by_path(folds: Folds, paths: list[str]) -> dict[str, int]:
    return {paths[row]: fold for row, fold in zip(folds.rows, folds.fold, strict=True)}


@pytest.mark.parametrize("axes", [("", "r_"), ("", "r_", "r2_"), ("r0_", "r1_", "r2_")])
def test_all_frames_of_one_rotation_axis_are_in_the_same_fold(axes: tuple[str, ...]) -> None:
    paths = films("Apple 1", *axes) + films("Cherry 1", *axes)
    folds = by_path(folds_by_question(*paths)["fruit"], paths)
    for label in ("Apple 1", "Cherry 1"):
        found = [{folds[path] for path in films(label, axis)} for axis in axes]
        assert all(len(film) == 1 for film in found)
        assert len(set.union(*found)) == len(axes)


def test_frames_of_training_and_test_that_are_of_one_film_stay_together() -> None:
    paths = films("Apple 1", "r0_", "r1_") + films("Cherry 1", "r0_", "r1_")
    paths += [path.replace("Training", "Test").replace("_100", "7_100") for path in paths]
    folds = by_path(folds_by_question(*paths)["fruit"], paths)
    film = {fold for path, fold in folds.items() if "Apple 1/r0_" in path}
    assert len(film) == 1


def test_a_frame_with_a_corrected_label_stays_in_the_fold_of_its_film() -> None:
    paths = films("Apple 1", "r0_", "r2_") + films("Pear 1", "r0_", "r1_", "r2_")
    paths += films("Cherry 1", "r0_", "r1_")
    frames = images(*paths)
    frames.loc[frames["path"] == "Training/Apple 1/r2_1_100.jpg", "label"] = "Pear 1"
    for folds in questions(frames)[:2]:
        found = by_path(folds, paths)
        film = {found[path] for path in films("Apple 1", "r2_")}
        assert len(film - {-1}) <= 1
        of_film = [path.startswith("Training/Apple 1/r2") for path in np.array(paths)[folds.rows]]
        assert len(set(folds.group[of_film])) == 1


def test_no_group_is_in_two_folds() -> None:
    paths = [path for n in range(7) for path in films(f"Apple {n}", "", "r_", "r2_")]
    paths += [path for n in range(3) for path in films(f"Pear {n}", "r0_", "r1_")]
    paths += [f"photos/{person}/apple/{n}.jpg" for person in "abc" for n in range(2)]
    paths += [f"photos/{person}/pear/{n}.jpg" for person in "abc" for n in range(2)]
    found = folds_by_question(*paths)
    assert [len(set(folds.group)) for folds in found.values()] == [10, 27, 3]
    for folds in found.values():
        for group in set(folds.group):
            assert len(set(folds.fold[folds.group == group]) - {-1}) == 1


def test_a_fruit_with_one_axis_is_only_used_for_training() -> None:
    paths = films("Apple 1", "", "r_") + films("Apple 2", "", "r_") + films("Cherry Wax 2", "r0_")
    folds = folds_by_question(*paths)["fruit"]
    assert set(folds.target[folds.fold < 0]) == {"Cherry Wax 2"}
    assert folds.reason_not_asked is None


def test_a_kind_is_predicted_from_other_fruits_of_it() -> None:
    labels = [f"{kind} {n}" for kind in ("Apple", "Cherry Wax", "tomato") for n in range(1, 9)]
    paths = [path for label in labels for path in films(label, "r0_", "r1_")]
    folds = folds_by_question(*paths)["kind of fruit"]
    assert set(folds.target) == {"apple", "cherry", "tomato"}
    of_label: dict[str, set[int]] = {}
    for path, fold in by_path(folds, paths).items():
        of_label.setdefault(path.split("/")[1], set()).add(fold)
    assert all(len(fold) == 1 for fold in of_label.values())
    assert set.union(*of_label.values()) == {0, 1, 2, 3, 4}


def test_all_photos_of_a_person_are_in_the_same_fold() -> None:
    paths = [
        f"photos/{person}/{label}/IMG_{n}.jpg"
        for person in ("ada", "bob", "cyd")
        for label in ("apple", "pear")
        for n in range(3)
    ]
    folds = folds_by_question(*paths)["label of a photo"]
    of_person: dict[str, set[int]] = {}
    for path, fold in by_path(folds, paths).items():
        of_person.setdefault(path.split("/")[1], set()).add(fold)
    assert [len(fold) for fold in of_person.values()] == [1, 1, 1]
    assert len(set.union(*of_person.values())) == 3
    assert set(folds.target) == {"apple", "pear"}


def test_photos_and_films_are_evaluated_separately() -> None:
    photos = [f"photos/ada/apple/{n}_100.jpg" for n in range(3)]
    paths = films("Apple 1", "r0_", "r1_") + photos
    found = folds_by_question(*paths)
    assert {paths[row] for row in found["fruit"].rows} == set(paths) - set(photos)
    assert {paths[row] for row in found["label of a photo"].rows} == set(photos)


def test_photos_without_a_label_folder_are_not_evaluated() -> None:
    assert not len(
        folds_by_question("photos/ada/1.jpg", "photos/bob/2.jpg")["label of a photo"].rows
    )


@pytest.mark.parametrize(
    ("paths", "question", "why"),
    [
        (["1.jpg", "2.jpg"], "kind of fruit", "there are no labelled images outside"),
        ([], "fruit", "there are no labelled images with file names"),
        (
            ["Apple/IMG_1.jpg", "Pear/IMG_2.jpg"],
            "fruit",
            "there are no labelled images with file names",
        ),
        (films("Apple 1", "r0_", "r1_"), "fruit", "fewer than two classes"),
        (films("Apple 1", "r0_") + films("Pear 1", "r0_"), "fruit", "fewer than two classes"),
        (films("Apple 1", "r0_") + films("Pear 1", "r0_"), "kind of fruit", "fewer than two"),
        (["photos/ada/apple/1.jpg", "photos/ada/pear/1.jpg"], "label of a photo", "fewer than two"),
    ],
)
def test_a_question_that_does_not_apply_has_a_reason(
    paths: list[str], question: str, why: str
) -> None:
    assert str(folds_by_question(*paths)[question].reason_not_asked).startswith(why)


def test_each_evaluated_class_has_training_images() -> None:
    paths = [path for n in range(7) for path in films(f"Apple {n}", "", "r_")]
    paths += [path for n in range(2) for path in films(f"Pear {n}", "", "r_", "r2_")]
    paths += films("Quince 1", "")
    for folds in folds_by_question(*paths).values():
        for number in np.unique(folds.fold[folds.fold >= 0]):
            is_test = folds.fold == number
            assert set(folds.target[is_test]) <= set(folds.target[~is_test])
