"""Processes one file in a forked worker, which may crash, hang or use too much memory."""

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

from spark_src.features.inference import BATCH, Engine, compute_features
from spark_src.images.ingest import row_of_file
from spark_src.images.preprocess import INPUT_SIZE
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.tables.schemas import RAW_IMAGES

TIMEOUT_SECONDS = 30.0
ACCEPTED = "accepted"

WORKER_MEGABYTES = (
    int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
)
"""Memory of an idle process with a worker's imports."""


@dataclass(frozen=True)
class Trial:
    """The outcome of one file in ingest and, if accepted, in the features step."""

    outcome: str
    """`accepted`, a reason code, or how the process ended."""
    seconds: float = 0.0
    megabytes: float = 0.0
    """Peak memory of the whole process, including Python and libraries."""
    features_seconds: float = 0.0
    features_megabytes: float = 0.0


def warm_engine(model: bytes) -> Engine:
    """An engine after its first pictures, whose initial allocations are not counted."""
    engine = Engine(model)
    engine.features(np.zeros((BATCH, INPUT_SIZE, INPUT_SIZE, 3), np.float32))
    return engine


def try_file(content: bytes, engine: Engine) -> Trial:
    """Process a file in a forked worker, with a timeout.

    Args:
        content: the file's content.
        engine: computes the features of an accepted picture.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        _run_worker(content, engine, writing)
    os.close(writing)
    try:
        return _trial(_answers(reading, process), process)
    finally:
        os.close(reading)


def _run_worker(content: bytes, engine: Engine, writing: int) -> None:
    """Do the work in the forked process; does not return."""
    status = 1
    try:
        before, started = _peak(), time.monotonic()
        row = row_of_file("A/1.jpg", content, DEFAULT_LIMITS)
        outcome = row.get("reason", ACCEPTED)
        _report(writing, outcome, started, _peak() - before + len(content) / 2**20)
        if outcome == ACCEPTED:
            started = time.monotonic()
            compute_features(pa.RecordBatch.from_pylist([row], RAW_IMAGES), engine)
            _report(writing, outcome, started, _peak() - before + len(content) / 2**20)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the fuzz looks for any error
        _report(writing, f"raised {error!r:.60}", started, 0)
    finally:
        os._exit(status)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(writing: int, outcome: str, started: float, megabytes: float) -> None:
    answer = (outcome, time.monotonic() - started, WORKER_MEGABYTES + megabytes)
    os.write(writing, json.dumps(answer).encode() + b"\n")


def _answers(reading: int, process: int) -> bytes:
    answers, deadline = b"", time.monotonic() + TIMEOUT_SECONDS
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reading, 4096)
        if not part:
            return answers
        answers += part
    os.kill(process, signal.SIGKILL)
    return answers


def _trial(answers: bytes, process: int) -> Trial:
    _, status = os.waitpid(process, 0)
    results: list[tuple[str, float, float]] = [json.loads(line) for line in answers.splitlines()]
    if os.WIFSIGNALED(status):
        return Trial(f"killed by {signal.Signals(os.WTERMSIG(status)).name}", TIMEOUT_SECONDS)
    first, *later = results
    if not later:
        return Trial(*first)
    outcome, seconds, megabytes = later[0]
    return Trial(
        first[0] if outcome == ACCEPTED else f"then {outcome}", *first[1:], seconds, megabytes
    )
