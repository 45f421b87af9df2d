"""Near duplicates: all pairs are found once, exactly and with the index."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_src.evaluation.duplicates import NEIGHBOURS, Pairs, near_pairs
from spark_src.evaluation.health import Health, health
from spark_src.evaluation.whitening import DIRECTIONS, Units, Whitening
from spark_src.pca.model import Sums

THRESHOLD = 0.9


def vectors(count: int, copies: int = 0, length: int = 64) -> Units:
    """Random directions, followed by near copies of the first ones."""
    random = np.random.default_rng(20)
    found = random.normal(size=(count, length))
    near = found[:copies] + random.normal(size=(copies, length)) * 0.1
    both = np.concatenate([found, near])
    return (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float16)


def pairs(units: Units, new_rows: list[int] | range, **options: int) -> set[tuple[int, int]]:
    found = near_pairs(units, np.array(new_rows), THRESHOLD, **options)
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_every_copy_is_paired_with_its_original_only() -> None:
    assert pairs(vectors(3_000, copies=40), range(3_040)) == {(n, 3_000 + n) for n in range(40)}


def test_the_index_finds_the_same_pairs_as_exact_comparison() -> None:
    units = vectors(3_000, copies=40)
    assert pairs(units, range(3_040), exact_pairs=0) == pairs(units, range(3_040))


def test_old_vectors_are_not_compared_with_each_other() -> None:
    units = vectors(100, copies=2)
    assert pairs(units, [100]) == {(0, 100)}
    assert pairs(units, []) == set()


def test_the_nearest_of_many_copies_are_kept() -> None:
    same = np.repeat(vectors(1), 100, axis=0)
    found = near_pairs(same, np.array([0]), THRESHOLD)
    assert len(found) == NEIGHBOURS
    assert found.cosine.min() > 0.99


def test_whitening_gives_every_direction_the_same_variance() -> None:
    random = np.random.default_rng(3)
    scales = np.geomspace(1, 1e-3, 320)
    features = (random.normal(size=(2_000, 320)) * scales).astype(np.float32)
    whitening = Whitening.from_sums(Sums.from_features(features))
    white = (features - whitening.mean) @ whitening.matrix
    assert white.shape == (2_000, DIRECTIONS)
    np.testing.assert_allclose(white.var(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_give_as_many_directions_as_they_have(count: int) -> None:
    features = np.random.default_rng(3).random((count, 64), np.float32)
    units = Whitening.from_sums(Sums.from_features(features)).units(features)
    assert units.shape == (count, max(1, count - 1))
    assert np.isfinite(units).all()


def keys(*rows: tuple[str, str]) -> pd.DataFrame:
    """Images by path and id. Folders are split and label, or `photos` and a person."""
    found = [
        (
            path,
            image_id,
            None if path.startswith("photos") or "/" not in path else path.split("/")[0],
            path.split("/")[-2] if "/" in path else None,
        )
        for path, image_id in rows
    ]
    return pd.DataFrame(found, columns=["path", "image_id", "split", "label"])


def health_of(images: pd.DataFrame, *near: tuple[str, str, float]) -> Health:
    """The health of images with these near duplicates: two ids and their cosine."""
    ids = np.unique(images["image_id"].to_numpy(object))
    columns = zip(*near, strict=True) if near else ((), (), ())
    one, other, cosine = (np.array(column) for column in columns)
    rows = (np.searchsorted(ids, side.astype(object)) for side in (one, other))
    return health(images, ids, Pairs.from_rows(*rows, cosine.astype(np.float32)))


def test_a_picture_in_two_splits_or_under_two_labels_is_named_with_what_it_crosses() -> None:
    found = health_of(
        keys(("Test/Apple/1.jpg", "a"), ("Training/Apple/1.jpg", "a"), ("Training/Pear/2.jpg", "a"))
    )
    rows = found.findings[["path", "other_path", "crosses", "exact"]].values.tolist()
    assert rows == [
        ["Test/Apple/1.jpg", "Training/Pear/2.jpg", "split, label", True],
        ["Test/Apple/1.jpg", "Training/Apple/1.jpg", "split", True],
    ]
    assert (found.exact_duplicates, found.n_groups) == (2, 1)
    assert len(found.crossing("label", exact=True)) == 1
    assert not len(found.crossing("split", exact=False))


def unlabelled_first() -> list[tuple[str, str]]:
    """A picture whose first path has neither split nor label, and two labelled ones."""
    return [("0.jpg", "a"), ("Training/Apple/1.jpg", "a"), ("Test/Pear/2.jpg", "b")]


def test_a_contradiction_is_found_although_the_first_path_has_no_label() -> None:
    rows = unlabelled_first()
    exact = [*rows[:2], ("Test/Pear/2.jpg", "a")]
    for images, near, is_exact in ((exact, [], True), (rows, [("a", "b", 0.9)], False)):
        found = health_of(keys(*images), *near)
        assert found.findings["crosses"].tolist() == ["split, label"]
        assert found.findings["path"].tolist() == ["Test/Pear/2.jpg" if is_exact else rows[1][0]]
        assert len(found.crossing("label", exact=is_exact)) == 1


def test_a_group_that_crosses_only_through_an_unlabelled_picture_is_counted() -> None:
    images = keys(("Training/Apple/1.jpg", "a"), ("0.jpg", "b"), ("Training/Pear/2.jpg", "c"))
    found = health_of(images, ("a", "b", 0.9), ("b", "c", 0.9))
    assert found.findings.empty
    assert [found.n_groups_crossing(name) for name in ("split", "label", "person")] == [0, 1, 0]


def test_connected_near_duplicates_are_one_group() -> None:
    named = [(f"Training/Apple/{name}.jpg", name) for name in "abcde"]
    found = health_of(keys(*named), ("a", "b", 0.9), ("b", "c", 0.8))
    assert found.groups["image_id"].tolist() == ["a", "b", "c"]
    assert set(found.groups["group"]) == {0}
    assert found.findings.empty
    assert found.near_share == {"Apple": 0.6}


def test_two_people_who_have_the_same_picture_are_a_finding() -> None:
    found = health_of(
        keys(("photos/4711/Fig/1.jpg", "a"), ("photos/4712/Fig/1.jpg", "b")), ("a", "b", 0.9)
    )
    assert found.findings["crosses"].tolist() == ["person"]


def test_without_duplicates_there_is_nothing_to_find() -> None:
    found = health_of(keys(("Training/Apple/1.jpg", "a"), ("Test/Apple/2.jpg", "b")))
    assert found.groups.empty and found.findings.empty
    assert found.labels == {"Apple": 2}
    assert found.near_share == {"Apple": 0.0}
