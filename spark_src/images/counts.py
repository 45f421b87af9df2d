"""Row counts by split and label for commits and the UI, with a bounded number of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from spark_src.tables.statistics import Counts

MAX_NAMES = 1000
"""Maximum number of names, keeping those with the most rows. With one folder per picture, commits
and Dagster events would otherwise grow with the input."""

OTHERS = "(others)"
"""The key that counts the rows of all other names."""

ALWAYS_NAMED = frozenset({"Training", "Test"})
"""Splits that other code reads, so they are kept however few rows they have."""


def update_counts(
    known: Mapping[str, int], removed: Mapping[str, int], added: Iterable[Mapping[str, int]]
) -> Counts:
    """Update counts after rows were removed and added. Their total stays the number of rows.

    Args:
        known: counts of the previous version.
        removed: counts of removed rows.
        added: counts of added rows, in parts.
    """
    counts = Counter(known)
    for name, number in removed.items():
        n_named = min(number, counts[name])
        counts[name] -= n_named
        counts[OTHERS] -= number - n_named
    for part in added:
        counts.update(part)
        if len(counts) > 2 * MAX_NAMES:
            counts = _bounded(counts)
    return dict(sorted((name, number) for name, number in _bounded(counts).items() if number > 0))


def _bounded(counts: Counter[str]) -> Counter[str]:
    if len(counts) <= MAX_NAMES:
        return counts
    names = [name for name in counts if name != OTHERS]
    names.sort(key=lambda name: (name not in ALWAYS_NAMED, -counts[name], name))
    kept = Counter({name: counts[name] for name in names[: MAX_NAMES - 1]})
    kept[OTHERS] = counts.total() - kept.total()
    return kept
