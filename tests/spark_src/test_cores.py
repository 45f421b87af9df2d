"""Cores are counted from executors, not from Spark's default parallelism."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import fruits_assets
import spark_src
from spark_src.spark.cores import Interval, count_cores, max_concurrent_cores


@pytest.mark.parametrize(
    ("executors", "cores"),
    [
        ([], 0),
        ([(0, None, 0)], 0),
        ([(0, None, 4), (3, None, 4)], 8),
        ([(0, 5, 4), (5, None, 4)], 4),  # one was killed and replaced
        ([(0, 5, 4), (1, 6, 4), (7, None, 4)], 8),  # released when idle
    ],
)
def test_the_maximum_of_concurrent_cores(executors: list[Interval], cores: int) -> None:
    assert max_concurrent_cores(executors) == cores


def test_the_number_of_tasks_does_not_depend_on_the_current_cores() -> None:
    """On YARN the first executor may not have started yet."""
    for package in (spark_src, fruits_assets):
        for file in Path(package.__path__[0]).rglob("*.py"):
            used = re.search(r"\.default(Parallelism|MinPartitions)\b", file.read_text("utf-8"))
            assert used is None, file


def test_in_local_mode_the_machines_cores_are_counted(spark: SparkSession) -> None:
    assert count_cores(spark.sparkContext) == os.cpu_count()
