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

_ASKED, _KNOWN = 1_024, 8_192
"""Vectors per block: their cosines take 32 MB."""
_AT_ONCE = 65_536
"""Vectors per call of the index."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distinct pairs of rows, the smaller row first."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of(
        cls, one: NDArray[np.int64], other: NDArray[np.int64], cosine: NDArray[np.float32]
    ) -> Pairs:
        """Sort pairs, and drop those found from both sides."""
        first, second = np.minimum(one, other), np.maximum(one, other)
        order = np.lexsort((second, first))
        first, second, cosine = first[order], second[order], cosine[order]
        fresh = np.ones(len(first), bool)
        fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        return cls(first[fresh], second[fresh], cosine[fresh])


def near_pairs(
    vectors: Units,
    asked: NDArray[np.int64],
    threshold: float = THRESHOLD,
    exact_pairs: int = EXACT_PAIRS,
) -> Pairs:
    """Pairs with at least one of the given rows and a cosine of at least the threshold.

    Args:
        vectors: (n, length), from `Whitening.units`.
        asked: new rows. The others are not compared with each other.
        threshold: minimum cosine.
        exact_pairs: above this number of pairs, candidates come from an index.
    """
    exact = len(asked) * len(vectors) <= exact_pairs
    found = list((_by_blocks if exact else _by_index)(vectors, asked, threshold))
    if not found:
        nothing = np.zeros(0, np.int64)
        return Pairs(nothing, nothing, np.zeros(0, np.float32))
    one, other, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs.of(one, other, cosine)


_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _by_blocks(vectors: Units, asked: NDArray[np.int64], threshold: float) -> Iterator[_Found]:
    for start in range(0, len(asked), _ASKED):
        rows = asked[start : start + _ASKED]
        block = vectors[rows].astype(np.float32)
        found = []
        for begin in range(0, len(vectors), _KNOWN):
            cosines = block @ vectors[begin : begin + _KNOWN].astype(np.float32).T
            places, others = np.nonzero(cosines >= threshold)
            found.append((places, others + begin, cosines[places, others]))
        places, others, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
        yield _nearest(rows, places, others, cosine)


def _by_index(vectors: Units, asked: NDArray[np.int64], threshold: float) -> Iterator[_Found]:
    """Find candidates in an HNSW graph of 8-bit vectors, and compute their exact cosines."""
    from usearch.index import Index  # not on a cluster

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8", connectivity=16)
    for start in range(0, len(vectors), _AT_ONCE):
        block = vectors[start : start + _AT_ONCE]
        index.add(np.arange(start, start + len(block)), block)
    for start in range(0, len(asked), _AT_ONCE):
        rows = asked[start : start + _AT_ONCE]
        keys = index.search(vectors[rows], NEIGHBOURS + 1).keys.astype(np.int64)
        places = np.repeat(np.arange(len(rows)), keys.shape[1])
        others = keys.reshape(-1)
        cosine = _cosines(vectors, rows[places], others)
        near = cosine >= threshold
        yield _nearest(rows, places[near], others[near], cosine[near])


def _cosines(
    vectors: Units, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float32]:
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), _ASKED):
        here = slice(start, start + _ASKED)
        pair = (vectors[side[here]].astype(np.float32) for side in (one, other))
        found[here] = np.einsum("ij,ij->i", *pair)
    return found


def _nearest(
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    others: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> _Found:
    """The `NEIGHBOURS` largest cosines of each row, excluding itself."""
    apart = rows[places] != others
    places, others, cosine = places[apart], others[apart], cosine[apart]
    order = np.lexsort((others, -cosine, places))
    places, others, cosine = places[order], others[order], cosine[order]
    rank = np.arange(len(places)) - np.searchsorted(places, places)
    kept = rank < NEIGHBOURS
    return rows[places[kept]], others[kept], cosine[kept]
