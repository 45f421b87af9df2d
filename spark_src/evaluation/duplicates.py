"""Finds near duplicates: pairs of vectors by cosine. No files, no labels.

A few new vectors are compared exactly with all others. For many, an approximate index is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_src.evaluation.whitening import Units

THRESHOLD = 0.45
"""Minimum cosine of near duplicates, of whitened features. Chosen with
`python -m benchmarks.duplicates`: one in ten thousand pairs of different fruits reaches it."""

NEIGHBOURS = 16
"""Maximum near duplicates per vector. A film of one fruit has hundreds."""

EXACT_PAIRS = 4_000_000_000
"""Maximum number of pairs to compare exactly: enough for 49,000 images, but not a million."""

_BLOCK_ROWS, _BLOCK_COLUMNS = 1_024, 8_192
"""Size of a block of cosines: takes 32 MB."""
_INDEX_BATCH = 65_536
"""Vectors per call to the index."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distinct pairs of rows, the smaller row first."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def none(cls) -> Pairs:
        """No pairs."""
        no_rows = np.zeros(0, np.int64)
        return cls(no_rows, no_rows, np.zeros(0, np.float32))

    def with_others(self, others: Pairs) -> Pairs:
        """These pairs and others, sorted."""
        sides = ("first", "second", "cosine")
        return Pairs.from_rows(
            *(np.concatenate([getattr(self, side), getattr(others, side)]) for side in sides)
        )

    @classmethod
    def from_rows(
        cls, one: NDArray[np.int64], other: NDArray[np.int64], cosine: NDArray[np.float32]
    ) -> Pairs:
        """Sort pairs, and drop duplicates."""
        first, second = np.minimum(one, other), np.maximum(one, other)
        order = np.lexsort((second, first))
        first, second, cosine = first[order], second[order], cosine[order]
        is_first = np.ones(len(first), bool)
        is_first[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        return cls(first[is_first], second[is_first], cosine[is_first])


def near_pairs(
    vectors: Units,
    new_rows: NDArray[np.int64],
    threshold: float = THRESHOLD,
    exact_pairs: int = EXACT_PAIRS,
) -> Pairs:
    """Pairs with at least one of the given rows and a cosine of at least the threshold.

    Args:
        vectors: (n, length), from `Whitening.units`.
        new_rows: rows to compare with all others. Other rows are not compared with each other.
        threshold: minimum cosine.
        exact_pairs: above this number of pairs, candidates come from an index.
    """
    exact = len(new_rows) * len(vectors) <= exact_pairs
    found = list((_by_blocks if exact else _by_index)(vectors, new_rows, threshold))
    if not found:
        return Pairs.none()
    one, other, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs.from_rows(one, other, cosine)


_RawPairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _by_blocks(
    vectors: Units, new_rows: NDArray[np.int64], threshold: float
) -> Iterator[_RawPairs]:
    for start in range(0, len(new_rows), _BLOCK_ROWS):
        rows = new_rows[start : start + _BLOCK_ROWS]
        block = vectors[rows].astype(np.float32)
        found = []
        for begin in range(0, len(vectors), _BLOCK_COLUMNS):
            cosines = block @ vectors[begin : begin + _BLOCK_COLUMNS].astype(np.float32).T
            indices, others = np.nonzero(cosines >= threshold)
            found.append((indices, others + begin, cosines[indices, others]))
        indices, others, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
        yield _nearest(rows, indices, others, cosine)


def _by_index(vectors: Units, new_rows: NDArray[np.int64], threshold: float) -> Iterator[_RawPairs]:
    """Find candidates in an HNSW graph of 8-bit vectors, and compute their exact cosines."""
    from usearch.index import Index  # not on a cluster

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8", connectivity=16)
    for start in range(0, len(vectors), _INDEX_BATCH):
        block = vectors[start : start + _INDEX_BATCH]
        index.add(np.arange(start, start + len(block)), block)
    for start in range(0, len(new_rows), _INDEX_BATCH):
        rows = new_rows[start : start + _INDEX_BATCH]
        keys = index.search(vectors[rows], NEIGHBOURS + 1).keys.astype(np.int64)
        indices = np.repeat(np.arange(len(rows)), keys.shape[1])
        others = keys.reshape(-1)
        cosine = _cosines(vectors, rows[indices], others)
        near = cosine >= threshold
        yield _nearest(rows, indices[near], others[near], cosine[near])


def _cosines(
    vectors: Units, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float32]:
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        pair = (vectors[side[block]].astype(np.float32) for side in (one, other))
        found[block] = np.einsum("ij,ij->i", *pair)
    return found


def _nearest(
    rows: NDArray[np.int64],
    indices: NDArray[np.int64],
    others: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> _RawPairs:
    """The `NEIGHBOURS` largest cosines of each row, excluding itself."""
    is_other = rows[indices] != others
    indices, others, cosine = indices[is_other], others[is_other], cosine[is_other]
    order = np.lexsort((others, -cosine, indices))
    indices, others, cosine = indices[order], others[order], cosine[order]
    rank = np.arange(len(indices)) - np.searchsorted(indices, indices)
    kept = rank < NEIGHBOURS
    return rows[indices[kept]], others[kept], cosine[kept]
