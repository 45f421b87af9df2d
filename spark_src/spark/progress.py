"""Progress of long work: images done, rate, time left; kept, so that it can be drawn afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyspark import Accumulator

REPORT_SECONDS = 5.0
"""Between two lines."""

POLL_SECONDS = 0.25
"""Between two polls of the count, which goes up when a task ends."""

MAX_POINTS = 200
"""Kept of the progress: 4 kB in the statistics, however long the work takes."""


Log = Callable[[str], None]
"""Takes a line."""

Listener = Callable[[int, int, float], None]
"""Takes images done, images in all, seconds since the start."""

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Inside the block all progress of this process is reported to `listener`, every 0.25 s."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class ProgressLog:
    """How far some work was and when: (seconds since its start, images done), both growing."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = [(0.0, 0)]
        self._counter: Accumulator[int] | None = None

    def counts(self, counter: Accumulator[int]) -> Accumulator[int]:
        """Take a counter, which Spark has to be started for, and give it back."""
        self._counter = counter
        return counter

    @property
    def done(self) -> int | None:
        """How many images are done; None where nothing is counted yet."""
        return None if self._counter is None else self._counter.value

    def note(self, seconds: float, done: int) -> None:
        """Remember a point where more is done; thin them out where there are too many."""
        if done <= self.points[-1][1]:
            return
        self.points.append((round(max(seconds, 0.01), 2), done))
        if len(self.points) > MAX_POINTS:
            self.points = [self.points[0], *self.points[2::2]]  # the last one stays

    def close(self) -> None:
        """Delete what counted, where that is a file."""
        if isinstance(self._counter, FileCounter):
            self._counter.remove()

    @property
    def recorded(self) -> tuple[tuple[float, int], ...]:
        """The points; none where nothing was counted."""
        return tuple(self.points) if len(self.points) > 1 else ()


class FileCounter:
    """Counts what workers on this machine have done, picture by picture: the size of a file.

    Spark's own accumulators change when a task ends, and a first run has few of them.

    Args:
        file: an empty file, or one to be made.
    """

    def __init__(self, file: str) -> None:
        self._file = file

    def add(self, count: int) -> None:
        """Count; a count that cannot be written is lost, as nothing depends on it."""
        with suppress(OSError), open(self._file, "ab", buffering=0) as file:
            file.write(b"." * count)

    def remove(self) -> None:
        """Delete the file: it counts nothing any more."""
        with suppress(OSError):
            os.remove(self._file)

    @property
    def value(self) -> int:
        """How many were counted."""
        try:
            return os.path.getsize(self._file)
        except OSError:
            return 0


@contextmanager
def report_progress(
    images: int, log: Log, interval: float = REPORT_SECONDS
) -> Iterator[ProgressLog]:
    """Log every `interval` seconds how far the work inside the block is.

    Args:
        images: how many images the work goes through.
        log: takes a line.
        interval: seconds between two lines.
    """
    finished = threading.Event()
    started = time.monotonic()
    progress = ProgressLog()

    def poll() -> float:
        seconds = time.monotonic() - started
        if progress.done is not None:
            progress.note(seconds, min(progress.done, images))
        return seconds

    def report() -> None:
        reported = 0.0
        while not finished.wait(min(POLL_SECONDS, interval)):
            seconds, done = poll(), progress.done
            for listener in _listeners:
                listener(min(done or 0, images), images, seconds)
            if done is not None and seconds - reported >= interval:
                log(progress_line(done, images, seconds))
                reported = seconds

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield progress
    finally:
        finished.set()
        reporter.join()
        poll()  # the last tasks ended after the last poll
        progress.close()


def rates(
    points: Sequence[tuple[float, int]], most: int = 40
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Images a second over time, from recorded progress: edges of equal spans (n + 1,), rates (n,).

    Counts come in lumps, a task's images at once, so each span is as long as several of them; in
    between, images are taken to have been done evenly.
    """
    import numpy as np

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
