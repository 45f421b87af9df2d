"""A Python worker that dies in the middle of its work costs time, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from spark_src.featurize import featurize
from spark_src.locations import Location
from spark_src.model import MobilenetModel

REPEATS = 3


def processor_ticks() -> dict[int, int]:
    """Processor time of each Python worker that Spark forked below this process, by its id."""
    parents, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
        except OSError:
            continue  # it ended meanwhile

    def generation(process: int) -> int:
        steps = 0
        while process not in (0, 1, os.getpid()):
            process, steps = parents.get(process, 0), steps + 1
        return steps if process == os.getpid() else 0

    # This process started the JVM, that the daemon, and that the workers.
    return {process: ticks[process] for process in parents if generation(process) >= 3}


def busiest_worker(spark: SparkSession) -> int:
    """The worker that worked most in a quarter of a second, once tasks run."""
    tracker = spark.sparkContext.statusTracker()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = processor_ticks()
        time.sleep(0.25)
        worked = {pid: ticks - before.get(pid, ticks) for pid, ticks in processor_ticks().items()}
        if tracker.getActiveStageIds() and max(worked.values(), default=0) >= 5:
            return max(worked, key=lambda pid: worked[pid])
    raise TimeoutError("No worker was busy.")


def values(table: DataFrame) -> list[tuple[str, bytes]]:
    rows = table.select("path", "features").collect()
    return sorted((row.path, np.array(row.features, np.float32).tobytes()) for row in rows)


def test_a_killed_worker_changes_no_feature(
    spark: SparkSession,
    sample_images: Location,
    sample_features: Location,
    mobilenet: MobilenetModel,
) -> None:
    images = spark.read.parquet(sample_images.hadoop)
    often = images.crossJoin(spark.range(REPEATS)).drop("id").repartition(4)
    model = spark.sparkContext.broadcast(mobilenet.content)
    work = featurize(often, model, mobilenet.sha256, rows=240 * REPEATS)
    found: list[tuple[str, bytes]] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            found.extend(values(work))
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    job = threading.Thread(target=run)
    job.start()
    victim = busiest_worker(spark)
    os.kill(victim, signal.SIGKILL)
    assert job.is_alive()
    job.join(timeout=60)
    assert [str(error)[:500] for error in failures] == []
    expected = values(spark.read.parquet(sample_features.hadoop))
    assert found == sorted(expected * REPEATS)
