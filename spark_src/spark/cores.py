"""Counts the cores that Spark used, for cost estimates. It does not affect the number of tasks."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark import SparkContext

Interval = tuple[int, int | None, int]
"""When an executor was added and removed (None: still running), in milliseconds; its cores."""


def count_cores(context: SparkContext) -> int:
    """The maximum number of cores in use at one time, including removed executors.

    `defaultParallelism` is 2 on YARN until the first executors have started, and decreases when
    dynamic allocation releases them.
    """
    store = context._jsc.sc().statusStore()  # available without the UI, too
    executors = store.executorList(False)
    intervals = []
    for number in range(executors.size()):
        executor = executors.apply(number)
        removed = executor.removeTime()
        end = int(removed.get().getTime()) if removed.isDefined() else None
        added = int(executor.addTime().getTime())
        intervals.append((added, end, int(executor.totalCores())))
    return max(1, max_concurrent_cores(intervals))


def max_concurrent_cores(intervals: Iterable[Interval]) -> int:
    """The maximum sum of cores at any time.

    >>> max_concurrent_cores([(0, 5, 4), (5, None, 4), (6, None, 4)])
    8
    """
    changes = []
    for added, removed, cores in intervals:
        changes.append((added, cores))
        if removed is not None:
            changes.append((removed, -cores))
    most = now = 0
    for _, change in sorted(changes):  # at equal times, removals sort before additions
        now += change
        most = max(most, now)
    return most
