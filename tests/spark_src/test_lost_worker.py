"""A Python worker that dies in the middle of its work costs time, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_src.features import incremental
from spark_src.features.model import MobilenetModel
from spark_src.io.locations import Location
from spark_src.spark.session import read_table, write_table
from spark_src.storage import Storage, Version

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


@pytest.fixture
def pictures(spark: SparkSession, sample_images: Location, tmp_path: Path) -> Version:
    """The sample three times over, each picture another one to who looks at its key."""
    storage = Storage(Location.parse(str(tmp_path)))
    draft = storage.begin("raw_images", "run-1")
    copies = read_table(spark, sample_images).crossJoin(spark.range(REPEATS))
    named = copies.withColumns(
        {name: F.concat(name, F.lit("#"), "id") for name in ("path", "image_id")}
    )
    write_table(named.drop("id").repartition(4), "raw_images", draft.location)
    return storage.publish(draft, {"rows": 240 * REPEATS})


def values(folder: Location) -> list[tuple[str, bytes]]:
    rows = pq.read_table(folder.path).to_pylist()
    return sorted(
        (row["path"].split("#")[0], np.array(row["features"], np.float32).tobytes()) for row in rows
    )


def test_a_killed_worker_changes_no_feature(
    spark: SparkSession,
    pictures: Version,
    sample_features: Location,
    mobilenet: MobilenetModel,
    tmp_path: Path,
) -> None:
    storage = Storage(Location.parse(str(tmp_path)))
    folder = storage.begin("mobilenet_features", "run-1").location
    plan = incremental.plan(storage, pictures, mobilenet.sha256)
    failures: list[Exception] = []

    def run() -> None:
        try:
            incremental.make(spark, plan, mobilenet, folder)
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    job = threading.Thread(target=run)
    job.start()
    victim = busiest_worker(spark)
    os.kill(victim, signal.SIGKILL)
    assert job.is_alive()
    job.join(timeout=60)
    assert [str(error)[:500] for error in failures] == []
    assert values(folder) == sorted(values(sample_features) * REPEATS)
