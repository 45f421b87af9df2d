"""Long work speaks: how many images are done, how quickly, how long the rest will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark import Accumulator

from spark_src.locations import Location

INTERVAL = 5.0
"""Seconds between two lines."""


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


@contextmanager
def spoken(work: Work, say: Callable[[str], None], interval: float = INTERVAL) -> Iterator[None]:
    """Say every `interval` seconds how far the work inside the block is."""
    finished = threading.Event()
    started = time.monotonic()

    def speak() -> None:
        while not finished.wait(interval):
            if work.done is not None:
                say(progress_line(work.done.value, work.images, time.monotonic() - started))

    speaker = threading.Thread(target=speak, name="progress", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        finished.set()
        speaker.join()


def progress_line(done: int, images: int, seconds: float) -> str:
    """One line: images done, share, images a second, time left."""
    done = min(done, images)  # a repeated task counts its images twice
    share = done / images if images else 1.0
    rate = done / seconds if seconds else 0.0
    left = f"{(images - done) / rate:,.0f} s left" if rate else "time left not known yet"
    return f"{done:,} of {images:,} images ({share:.0%}), {rate:,.1f} img/s, {left}"
