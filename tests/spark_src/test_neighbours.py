"""The nearest rows of each row, computed from scratch or updated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spark_src.evaluation import neighbours
from spark_src.evaluation.head import Matrix
from spark_src.evaluation.neighbours import (
    NEIGHBOURS,
    UNKNOWN,
    Rows,
    nearest,
    nearest_to,
    smallest,
    update,
)

pytestmark = pytest.mark.unit


def some_vectors(count: int, seed: int = 4) -> Matrix:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def sorted_neighbours(vectors: Matrix) -> Rows:
    """The nearest rows by sorting all distances, in ascending order of the row number."""
    exact = vectors.astype(np.float64)
    distances = np.square(exact[:, None] - exact).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.sort(np.argsort(distances, axis=1)[:, :NEIGHBOURS], axis=1)


def renumbered(near: Rows, kept: NDArray[np.int64], added: int) -> Rows:
    """Neighbours of the kept rows by their new numbers, before the added rows are compared."""
    numbers = np.full(len(near), UNKNOWN)
    numbers[kept] = np.arange(len(kept))
    return np.vstack([numbers[near[kept]], np.full((added, near.shape[1]), UNKNOWN)])


@pytest.mark.parametrize("length", [5, 11, 320, 353, 1_003])
def test_the_smallest_values_of_each_row_equal_those_from_sorting(length: int) -> None:
    values = np.random.default_rng(length).random((40, length)).astype(np.float32)
    few = min(10, length)
    found = np.take_along_axis(values, smallest(values, few), axis=1)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, :few])


def test_the_index_finds_nearly_all_exact_neighbours() -> None:
    vectors = np.random.default_rng(4).normal(size=(2_000, 8)).astype(np.float32)
    exact, found = nearest(vectors), nearest(vectors, exact_pairs=0)
    shared = [len({*one} & {*other}) for one, other in zip(exact, found, strict=True)]
    assert np.mean(shared) > 9.8


def test_the_nearest_rows_equal_those_from_sorting() -> None:
    vectors = some_vectors(700)
    np.testing.assert_array_equal(np.sort(nearest(vectors), axis=1), sorted_neighbours(vectors))


@pytest.mark.parametrize("rows", [0, 1, 2, 11])
def test_few_rows_have_all_others_as_neighbours(rows: int) -> None:
    expected = max(0, min(NEIGHBOURS, rows - 1))
    assert nearest(some_vectors(rows)).shape == (rows, expected)


@pytest.mark.parametrize(
    ("removed", "added"), [(0, 0), (0, 1), (0, 300), (1, 0), (40, 60), (690, 5)]
)
def test_updated_neighbours_equal_recomputed_ones(removed: int, added: int) -> None:
    before = some_vectors(700)
    kept = np.sort(np.random.default_rng(removed).permutation(700)[removed:])
    after = np.vstack([before[kept], some_vectors(added, seed=5)])
    found = update(after, renumbered(nearest(before), kept, added))
    np.testing.assert_array_equal(np.sort(found, axis=1), sorted_neighbours(after))


def test_an_update_compares_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = some_vectors(700)
    near, compared = nearest(before), []
    compare = neighbours._compare

    def counted(vectors: Matrix, rows: Rows, count: int) -> Rows:
        compared.extend(rows.tolist())
        return compare(vectors, rows, count)

    monkeypatch.setattr(neighbours, "_compare", counted)
    update(np.vstack([before, some_vectors(2, seed=5)]), renumbered(near, np.arange(700), 2))
    assert compared == [700, 701]


def test_a_copy_of_a_row_does_not_replace_equally_near_neighbours() -> None:
    before = np.repeat(some_vectors(3), 12, axis=0)
    near = nearest(before)
    after = np.vstack([before, before[:1]])
    found = update(after, renumbered(near, np.arange(36), 1))
    np.testing.assert_array_equal(found[:36], near)


def test_queries_have_the_nearest_rows_of_another_matrix() -> None:
    vectors, queries = some_vectors(400), some_vectors(1_500, seed=6)
    distances = np.square(queries.astype(np.float64)[:, None] - vectors).sum(axis=2)
    expected = np.sort(np.argsort(distances, axis=1)[:, :5], axis=1)
    np.testing.assert_array_equal(np.sort(nearest_to(queries, vectors, 5), axis=1), expected)
