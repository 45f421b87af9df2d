"""How Spark is started and how tables are read: sizes of tasks and batches are chosen here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spark_src.io.aws import endpoint
from spark_src.spark.environment import prepare_environment
from spark_src.spark.resources import this_machine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_BATCH_SIZES = (
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.parquet.columnarReaderBatchSize",
    "spark.sql.inMemoryColumnarStorage.batchSize",
)

ROWS_PER_BATCH = 512
"""Rows of 1,280 floats (2.6 MB) that Spark holds or hands on at once."""

HADOOP = "3.3.4"
"""The version that Spark 3.5 is built with; S3A has to match it."""


def cluster_config() -> dict[str, str]:
    """Spark's settings wherever it runs: sizes of batches, few partitions, one time zone."""
    return {
        "spark.app.name": "fruits-features",
        "spark.sql.session.timeZone": "UTC",
        # A file costs what opening it costs, not 4 MiB: see binaryFile's 2,116 partitions.
        "spark.sql.files.openCostInBytes": "4096",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        **dict.fromkeys(_BATCH_SIZES, str(ROWS_PER_BATCH)),
        # Else tables and plain tasks get Python workers of their own: twice the imports, twice the
        # memory. Tracebacks of workers are longer for it.
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
        # Nothing is current before its commit, so the quick committer is a safe one.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }


def s3_config() -> dict[str, str]:
    """Settings by which a Spark that is not EMR's reads and writes `s3://` (through S3A).

    Region, credentials and another endpoint than AWS's come from boto3's variables.
    """
    config = {
        "spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{HADOOP}",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        # As EMR's Hadoop 3.4 does: 3.3.4 would delete `data/` and other markers of folders.
        "spark.hadoop.fs.s3a.directory.marker.retention": "keep",
        "spark.hadoop.fs.s3a.aws.credentials.provider": (
            "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
        ),
        "spark.hadoop.fs.s3a.endpoint.region": os.environ.get("AWS_DEFAULT_REGION", ""),
    }
    if endpoint():
        config["spark.hadoop.fs.s3a.endpoint"] = str(endpoint())
        config["spark.hadoop.fs.s3a.path.style.access"] = "true"
    return config


def local_config() -> dict[str, str]:
    """Spark's settings for one machine: every core, no ports opened to the network, few files."""
    machine = this_machine()
    return cluster_config() | {
        # Four tries a task, as on a cluster: local[n] alone gives up when one worker is lost.
        "spark.master": f"local[{machine.workers},4]",
        "spark.driver.memory": f"{machine.driver_memory // 2**20}m",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": " ".join(
            [
                f"-Dlog4j.configurationFile={_logging()}",
                "-XX:-UsePerfData",  # a file in /tmp, which may be full
                "-XX:+UseSerialGC",  # the other collectors' threads want the workers' cores
                # Arrow's checks of each element: 1,280 for each row.
                "-Darrow.enable_unsafe_memory_access=true",
                "-Darrow.enable_null_check_for_get=false",
            ]
        ),
        "spark.python.daemon.module": "spark_src.spark.worker_daemon",
        "spark.hadoop.fs.permissions.umask-mode": "077",  # Hadoop sets modes of its own
    }


def _logging() -> str:
    """Where Log4j finds its settings. Not at import: on YARN a module's path is relative."""
    return Path(__file__).resolve().with_name("log4j2.properties").as_uri()


def use_bundled_java() -> None:
    """Point Spark at the Java that came by pip and at the running interpreter."""
    prepare_environment()


def start_local(config: Mapping[str, str], scratch: Path) -> SparkSession:
    """Start Spark in this process, or give the one that runs; safe to call from any thread.

    Args:
        config: see `local_config`.
        scratch: a folder of this process's own, for all temporary files.
    """
    from pyspark.sql import SparkSession

    prepare_environment(scratch)
    options = config.get("spark.driver.extraJavaOptions", "")
    # Native libraries are unpacked there, and /tmp may be mounted noexec.
    options += f' "-Djava.io.tmpdir={scratch}"'
    builder = SparkSession.builder
    for name, value in {**config, "spark.driver.extraJavaOptions": options}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
