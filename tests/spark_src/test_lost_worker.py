"""A killed Python worker costs time, but does not change results."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from spark_src.features.model import MobilenetModel
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import RAW_IMAGES
from tests.pipeline import featurize, rows_by_path, table_of, tables_in

REPEATS, FILES = 3, 8


def processor_ticks() -> dict[int, int]:
    """CPU time of each Python worker below this process, by process id."""
    parents, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
        except OSError:
            continue  # it has ended

    def generation(process: int) -> int:
        steps = 0
        while process not in (0, 1, os.getpid()):
            process, steps = parents.get(process, 0), steps + 1
        return steps if process == os.getpid() else 0

    # This process started the JVM, the JVM the daemon, and the daemon the workers.
    return {process: ticks[process] for process in parents if generation(process) >= 3}


def busiest_worker(spark: SparkSession) -> int:
    """The busiest worker during a quarter of a second, after tasks have started."""
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
def pictures(sample_raw: Snapshot, tmp_path: Path) -> Snapshot:
    """The sample three times under different keys, in eight files."""
    table = pa.concat_tables([named(table_of(sample_raw), number) for number in range(REPEATS)])
    write = tables_in(tmp_path).begin("raw_images", "run-1")
    rows = table.num_rows // FILES
    files = [
        write_file([table.slice(n * rows, rows)], write.folder, new_name(n), RAW_IMAGES, 128)
        for n in range(FILES)
    ]
    known = sample_raw.statistics.model_copy(update={"rows": table.num_rows})
    return write.commit(known, files)


def named(table: pa.Table, number: int) -> pa.Table:
    for name in ("path", "image_id"):
        values = pc.binary_join_element_wise(table[name], str(number), "#")
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table.cast(RAW_IMAGES)


def values(features: Snapshot) -> list[tuple[str, bytes]]:
    return sorted(
        (path.split("#")[0], np.array(row["features"], np.float32).tobytes())
        for path, row in rows_by_path(features).items()
    )


def test_features_do_not_change_when_a_worker_is_killed(
    spark: SparkSession,
    pictures: Snapshot,
    sample_version: Snapshot,
    mobilenet: MobilenetModel,
    tmp_path: Path,
) -> None:
    made: list[Snapshot] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            made.append(featurize(spark, tables_in(tmp_path), pictures, mobilenet)[1])
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    job = threading.Thread(target=run)
    job.start()
    victim = busiest_worker(spark)
    os.kill(victim, signal.SIGKILL)
    assert job.is_alive()
    job.join(timeout=120)
    assert [str(error)[:500] for error in failures] == []
    assert values(made[0]) == sorted(values(sample_version) * REPEATS)
