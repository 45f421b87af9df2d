"""Nearest-neighbour search and duplicate detection on a million synthetic images.

Run: uv run python -m benchmarks.search
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks._common import show
from spark_src.evaluation.duplicates import near_pairs
from spark_src.evaluation.search import Searcher
from spark_src.evaluation.whitening import DIRECTIONS, Units
from spark_src.tables.schemas import KEYS

COMPONENTS = 50
COPIES = 0.01
"""Share of vectors that are near copies of others."""


def main() -> None:
    """Print seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--duplicates", action="store_true", help="also compare all with all")
    parser.add_argument("--new", type=int, default=1_000, help="number of new images")
    arguments = parser.parse_args()
    rows = [_search(arguments.count)]
    if arguments.duplicates:
        rows += _duplicates(arguments.count, arguments.new)
    show(f"{arguments.count:,} images", ["operation", "seconds", "found", "peak MB"], rows)


def _search(count: int) -> list[str]:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(count, COMPONENTS)).astype(np.float32)
    numbers = pa.array(np.arange(count)).cast(pa.string())
    keys = pa.table([numbers] * len(KEYS), names=[*KEYS])
    squares = np.einsum("ij,ij->i", matrix, matrix)
    searcher = Searcher(keys, matrix, squares, None, None)  # type: ignore[arg-type]
    queries = range(0, count, count // 20)
    seconds, found = _timed(
        lambda: [searcher.nearest(matrix[row])["path"][0] == str(row) for row in queries]
    )
    return ["nearest 12, one picture", f"{seconds / 20:.3f}", f"{np.mean(found):.2f}", _peak()]


def _duplicates(count: int, new: int) -> list[list[str]]:
    units, copies = _units(count)
    half = int(count * COPIES)
    wanted = set(zip(copies.tolist(), range(count - half, count), strict=True))
    rows = []
    cases = {f"{new:,} new with all, exactly": np.arange(count - new, count)}
    cases["all with all, by the index"] = np.arange(count)
    for name, queries in cases.items():
        seconds, pairs = _timed(partial(near_pairs, units, queries, 0.8))
        found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        expected = {pair for pair in wanted if pair[1] >= queries[0]}
        share = len(found & expected) / len(expected)
        rows.append([name, f"{seconds:.1f}", f"{share:.4f} of the copies", _peak()])
    return rows


def _units(count: int) -> tuple[Units, np.ndarray]:
    """Vectors around a thousand centres. The last ones are near copies of the first ones."""
    random = np.random.default_rng(2)
    centres = random.normal(size=(1_000, DIRECTIONS)).astype(np.float32)
    units = np.empty((count, DIRECTIONS), np.float16)
    half = int(count * COPIES)
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        block = random.normal(size=(rows, DIRECTIONS)).astype(np.float32)
        block += centres[random.integers(0, 1_000, rows)] * 0.7
        units[start : start + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    copies = units[:half].astype(np.float32)
    copies += random.normal(size=copies.shape).astype(np.float32) * 0.3 / np.sqrt(DIRECTIONS)
    units[count - half :] = copies / np.linalg.norm(copies, axis=1, keepdims=True)
    return units, np.arange(half)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def _peak() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f}"


if __name__ == "__main__":
    main()
