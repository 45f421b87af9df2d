"""A step's program: 24 work items of one second each, distributed as in the assets."""

import json
import os
import time
from collections.abc import Iterable, Iterator

from pyspark import TaskContext
from pyspark.sql import SparkSession

from spark_src.spark.cores import count_cores
from spark_src.tables.parquet import run_tasks


def work(items: Iterable[int]) -> Iterator[tuple[int, str]]:
    for _ in items:
        time.sleep(1)
        task = TaskContext.get()
        assert task is not None
        yield task.partitionId(), os.environ["CONTAINER_ID"]


if __name__ == "__main__":
    spark = SparkSession.builder.getOrCreate()
    known = spark.sparkContext.defaultParallelism
    started = time.monotonic()
    done = run_tasks(spark, range(24), work)
    found = {
        "defaultParallelism at the start": known,
        "tasks": len({task for task, _ in done}),
        "executors": len({container for _, container in done}),
        "cores": count_cores(spark.sparkContext),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(found))  # noqa: T201 - to the test
