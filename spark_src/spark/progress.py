"""Long work speaks: how many images are done, how quickly, how long the rest will take.

What it says is kept, so that it can be drawn when it is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark import Accumulator

from spark_src.io.locations import Location

INTERVAL = 5.0
"""Seconds between two lines."""

LOOK = 0.25
"""Seconds between two looks at the count, which goes up when a task ends."""

MOST_POINTS = 200
"""Kept of a course: 4 kB in a version's facts, however long the work takes."""


@dataclass(frozen=True)
class Work:
    """What is still to be computed: it is when it is written."""

    write: Callable[[Location], object]
    """Computes it into the folder of a new version."""
    images: int
    """How many images the work goes through."""
    done: Accumulator[int] | None = None
    """Counts them as tasks finish."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is known beforehand and belongs to the version."""
    started: float = field(default_factory=time.monotonic)
    """When the work began, by the monotonic clock."""
    cleanup: Callable[[], None] = lambda: None
    """Called once the version is current."""


class Course:
    """How far some work was and when: (seconds since its start, images done), both growing."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = [(0.0, 0)]

    def note(self, seconds: float, done: int) -> None:
        """Remember a point where more is done; thin them out where there are too many."""
        if done <= self.points[-1][1]:
            return
        self.points.append((round(max(seconds, 0.01), 2), done))
        if len(self.points) > MOST_POINTS:
            self.points = [self.points[0], *self.points[2::2]]  # the last one stays

    @property
    def facts(self) -> dict[str, Any]:
        """What a version keeps of it; nothing where nothing was counted."""
        return {"progress": self.points} if len(self.points) > 1 else {}


@contextmanager
def spoken(work: Work, say: Callable[[str], None], interval: float = INTERVAL) -> Iterator[Course]:
    """Say every `interval` seconds how far the work inside the block is; give its course."""
    finished = threading.Event()
    started = time.monotonic()
    course = Course()

    def look() -> float:
        seconds = time.monotonic() - started
        if work.done is not None:
            course.note(seconds, min(work.done.value, work.images))
        return seconds

    def speak() -> None:
        said = 0.0
        while not finished.wait(min(LOOK, interval)):
            seconds = look()
            if work.done is not None and seconds - said >= interval:
                say(progress_line(work.done.value, work.images, seconds))
                said = seconds

    speaker = threading.Thread(target=speak, name="progress", daemon=True)
    speaker.start()
    try:
        yield course
    finally:
        finished.set()
        speaker.join()
        look()  # the last tasks ended after the last look


def rates(
    points: Sequence[tuple[float, int]], most: int = 40
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Images a second over time, from a course: edges of equal spans (n + 1,), rates (n,).

    Counts come in lumps, a task's images at once, so each span is as long as several of them; in
    between, images are taken to have been done evenly.
    """
    seconds, done = np.array(points, np.float64).T
    spans = int(np.clip((len(points) - 1) // 4, 1, most))
    edges = np.linspace(0, seconds[-1], spans + 1)
    return edges, np.diff(np.interp(edges, seconds, done)) / np.diff(edges)


def progress_line(done: int, images: int, seconds: float) -> str:
    """One line: images done, share, images a second, time left."""
    done = min(done, images)  # a repeated task counts its images twice
    share = done / images if images else 1.0
    rate = done / seconds if seconds else 0.0
    left = f"{(images - done) / rate:,.0f} s left" if rate else "time left not known yet"
    return f"{done:,} of {images:,} images ({share:.0%}), {rate:,.1f} img/s, {left}"
