"""How many cores Spark worked with: what cost is reckoned from, never how many tasks there are."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark import SparkContext

Interval = tuple[int, int | None, int]
"""When an executor came and went (None: it is there) in milliseconds, and its cores."""


def count_cores(context: SparkContext) -> int:
    """The most cores that executors had at one time, also of those that have gone since.

    `defaultParallelism` is 2 on YARN until the first executors are there, and falls again when
    dynamic allocation gives them back.
    """
    store = context._jsc.sc().statusStore()  # there also without UI
    executors = store.executorList(False)
    intervals = []
    for number in range(executors.size()):
        executor = executors.apply(number)
        removed = executor.removeTime()
        end = int(removed.get().getTime()) if removed.isDefined() else None
        added = int(executor.addTime().getTime())
        intervals.append((added, end, int(executor.totalCores())))
    return max(1, most_at_once(intervals))


def most_at_once(intervals: Iterable[Interval]) -> int:
    """The greatest sum of cores at any time.

    >>> most_at_once([(0, 5, 4), (5, None, 4), (6, None, 4)])
    8
    """
    changes = []
    for added, removed, cores in intervals:
        changes.append((added, cores))
        if removed is not None:
            changes.append((removed, -cores))
    most = now = 0
    for _, change in sorted(changes):  # who goes at a moment goes before who comes
        now += change
        most = max(most, now)
    return most
