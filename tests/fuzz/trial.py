"""Processes one file in a separate process, which may crash, hang or run out of memory."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from spark_src.features.inference import BATCH, Engine, features_of
from spark_src.images.ingest import row_of_file
from spark_src.images.preprocess import INPUT_SIZE
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.tables.schemas import RAW_IMAGES

PATIENCE_SECONDS = 30.0
ACCEPTED = "accepted"

WORKER_MEGABYTES = (
    int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
)
"""Of a process that has imported what a worker imports, and has done nothing yet."""


@dataclass(frozen=True)
class Trial:
    """Outcome of one file in ingest and, if accepted, in the next step."""

    outcome: str
    """`accepted`, a reason code, or how the process terminated."""
    seconds: float = 0.0
    megabytes: float = 0.0
    """Peak memory of the process, including Python and libraries."""
    features_seconds: float = 0.0
    features_megabytes: float = 0.0


def used_engine(model: bytes) -> Engine:
    """An engine after its first pictures, so that its initial allocations are not counted."""
    engine = Engine(model)
    engine.features(np.zeros((BATCH, INPUT_SIZE, INPUT_SIZE, 3), np.float32))
    return engine


def tried(content: bytes, engine: Engine) -> Trial:
    """Process a file in a forked worker, with a timeout.

    Args:
        content: of the file.
        engine: makes the features of a picture that is accepted.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        _work(content, engine, writing)
    os.close(writing)
    try:
        return _trial(_answers(reading, process), process)
    finally:
        os.close(reading)


def _work(content: bytes, engine: Engine, writing: int) -> None:
    """Runs in the forked process and never returns."""
    status = 1
    try:
        before, started = _peak(), time.monotonic()
        row = row_of_file("A/1.jpg", content, DEFAULT_LIMITS)
        outcome = row.get("reason", ACCEPTED)
        _say(writing, outcome, started, _peak() - before + len(content) / 2**20)
        if outcome == ACCEPTED:
            started = time.monotonic()
            features_of(pa.RecordBatch.from_pylist([row], RAW_IMAGES), engine)
            _say(writing, outcome, started, _peak() - before + len(content) / 2**20)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the fuzz looks for any exception
        _say(writing, f"raised {error!r:.60}", started, 0)
    finally:
        os._exit(status)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(writing: int, outcome: str, started: float, megabytes: float) -> None:
    answer = (outcome, time.monotonic() - started, WORKER_MEGABYTES + megabytes)
    os.write(writing, json.dumps(answer).encode() + b"\n")


def _answers(reading: int, process: int) -> bytes:
    answers, deadline = b"", time.monotonic() + PATIENCE_SECONDS
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reading, 4096)
        if not part:
            return answers
        answers += part
    os.kill(process, signal.SIGKILL)
    return answers


def _trial(answers: bytes, process: int) -> Trial:
    _, status = os.waitpid(process, 0)
    said: list[tuple[str, float, float]] = [json.loads(line) for line in answers.splitlines()]
    if os.WIFSIGNALED(status):
        return Trial(f"killed by {signal.Signals(os.WTERMSIG(status)).name}", PATIENCE_SECONDS)
    first, *later = said
    if not later:
        return Trial(*first)
    outcome, seconds, megabytes = later[0]
    return Trial(
        first[0] if outcome == ACCEPTED else f"then {outcome}", *first[1:], seconds, megabytes
    )
