"""Reports progress (images done, rate, time left), and records it for plots."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from spark_src.text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyspark import Accumulator

REPORT_SECONDS = 5.0
"""Interval between two log lines."""

POLL_SECONDS = 0.25
"""Interval between two polls of the counter."""

MAX_POINTS = 200
"""Maximum number of recorded points: 4 kB in the statistics."""


Log = Callable[[str], None]
"""Called with a log line."""

Listener = Callable[[int, int, float], None]
"""Called with images done, images in total, and seconds since the start."""

_listeners: list[Listener] = []
_message_listeners: list[Log] = []


@contextmanager
def progress_listener(listener: Listener) -> Iterator[None]:
    """Report all progress of this process to `listener` every 0.25 s inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def message_listener(listener: Log) -> Iterator[None]:
    """Pass all messages of this process for the user to `listener` inside the block."""
    _message_listeners.append(listener)
    try:
        yield
    finally:
        _message_listeners.remove(listener)


def report_message(text: str) -> None:
    """Show a message to the user who waits for this process, who does not see the run's log."""
    for listener in _message_listeners:
        listener(text)


class ProgressLog:
    """Recorded progress: points (seconds since the start, images done), both increasing."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = [(0.0, 0)]
        self._counter: Accumulator[int] | None = None

    def counts(self, counter: Accumulator[int]) -> Accumulator[int]:
        """Set the counter, which exists only after Spark has started, and return it."""
        self._counter = counter
        return counter

    @property
    def done(self) -> int | None:
        """How many images are done; None before there is a counter."""
        return None if self._counter is None else self._counter.value

    def note(self, seconds: float, done: int) -> None:
        """Record a point if the count has increased; thin out the points if there are too many."""
        if done <= self.points[-1][1]:
            return
        self.points.append((round(max(seconds, 0.01), 2), done))
        if len(self.points) > MAX_POINTS:
            self.points = [self.points[0], *self.points[2::2]]  # keeps the last one

    def close(self) -> None:
        """Delete the counter's file, if it has one."""
        if isinstance(self._counter, FileCounter):
            self._counter.remove()

    @property
    def recorded(self) -> tuple[tuple[float, int], ...]:
        """The recorded points; empty if nothing was counted."""
        return tuple(self.points) if len(self.points) > 1 else ()


class FileCounter:
    """Counts the pictures done by workers on this machine, in the size of a file.

    Spark's accumulators change only when a task ends, and a first run has few tasks.

    Args:
        file: an empty or new file.
    """

    def __init__(self, file: str) -> None:
        self._file = file

    def add(self, count: int) -> None:
        """Add to the count; errors are ignored, as the count is only for display."""
        with suppress(OSError), open(self._file, "ab", buffering=0) as file:
            file.write(b"." * count)

    def remove(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            os.remove(self._file)

    @property
    def value(self) -> int:
        """The current count."""
        try:
            return os.path.getsize(self._file)
        except OSError:
            return 0


@contextmanager
def report_progress(
    images: int, log: Log, interval: float = REPORT_SECONDS
) -> Iterator[ProgressLog]:
    """Log the progress of the work inside the block every `interval` seconds.

    Args:
        images: the total number of images.
        log: called with each line.
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
    """Images per second over time: edges of equal intervals (n + 1,) and rates (n,).

    Counts increase in steps, as a task may add all its images at once. Each interval therefore
    covers several points; between points the count is interpolated linearly.
    """
    import numpy as np

    seconds, done = np.array(points, np.float64).T
    spans = int(np.clip((len(points) - 1) // 4, 1, most))
    edges = np.linspace(0, seconds[-1], spans + 1)
    return edges, np.diff(np.interp(edges, seconds, done)) / np.diff(edges)


def progress_line(done: int, images: int, seconds: float) -> str:
    """One line: images done, share, images per second, time left."""
    done = min(done, images)  # a retried task counts its images twice
    share = done / images if images else 1.0
    rate = done / seconds if seconds else 0.0
    left = f"{(images - done) / rate:,.0f} s left" if rate else "time left not yet known"
    return f"{done:,} of {counted(images, 'image')} ({share:.0%}), {rate:,.1f} img/s, {left}"
