"""Rows by split and by label, as commits and the UI show them: bounded, however many folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from spark_src.tables.statistics import Counts

MAX_NAMES = 1000
"""Names that are counted, those with most rows. A folder a picture would make commits, and what
Dagster keeps of them, as long as the input."""

OTHERS = "(others)"
"""Counts the rows of all other names."""

ALWAYS_NAMED = frozenset({"Training", "Test"})
"""Splits that other code asks for, however few rows they have."""


def update_counts(
    known: Mapping[str, int], gone: Mapping[str, int], new: Iterable[Mapping[str, int]]
) -> Counts:
    """Counts after rows went and came; together they are always the number of rows.

    Args:
        known: of the version before.
        gone: of rows that went.
        new: of rows that came, in parts.
    """
    counts = Counter(known)
    for name, number in gone.items():
        here = min(number, counts[name])
        counts[name] -= here
        counts[OTHERS] -= number - here
    for part in new:
        counts.update(part)
        if len(counts) > 2 * MAX_NAMES:
            counts = _bounded(counts)
    return dict(sorted((name, number) for name, number in _bounded(counts).items() if number > 0))


def _bounded(counts: Counter[str]) -> Counter[str]:
    if len(counts) <= MAX_NAMES:
        return counts
    named = [name for name in counts if name != OTHERS]
    named.sort(key=lambda name: (name not in ALWAYS_NAMED, -counts[name], name))
    kept = Counter({name: counts[name] for name in named[: MAX_NAMES - 1]})
    kept[OTHERS] = counts.total() - kept.total()
    return kept
