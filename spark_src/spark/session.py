"""Starts Spark, and defines its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spark_src.io.aws import endpoint
from spark_src.spark.machine import this_machine
from spark_src.spark.variables import prepare_environment

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_BATCH_SIZES = (
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.parquet.columnarReaderBatchSize",
    "spark.sql.inMemoryColumnarStorage.batchSize",
)

ROWS_PER_BATCH = 512
"""Rows of 1,280 floats per batch (2.6 MB)."""

HADOOP = "3.3.4"
"""Hadoop version of Spark 3.5, which S3A has to match."""


def cluster_config() -> dict[str, str]:
    """Spark settings for all deployments: batch sizes, partitions, time zone."""
    return {
        "spark.app.name": "fruits-features",
        "spark.sql.session.timeZone": "UTC",
        # Small Parquet files share a partition; the default of 4 MiB per file allows 32 of them.
        "spark.sql.files.openCostInBytes": "4096",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        **dict.fromkeys(_BATCH_SIZES, str(ROWS_PER_BATCH)),
        # Otherwise UDFs and RDD tasks use separate Python workers: twice the imports and memory.
        # The cost is longer tracebacks of workers.
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
        # Output is invisible until the Delta commit, so the faster committer is safe.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }


def s3_config() -> dict[str, str]:
    """Spark settings outside EMR to read and write `s3://` through S3A.

    Region, credentials and a custom endpoint come from boto3's variables.
    """
    config = {
        "spark.jars.packages": f"org.apache.hadoop:hadoop-aws:{HADOOP}",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        # The default of EMR's Hadoop 3.4: 3.3.4 would delete directory markers such as `data/`.
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
    """Spark settings for one machine: all cores, no ports open to the network."""
    machine = this_machine()
    return cluster_config() | {
        # Four attempts per task, as on a cluster: local[n] alone fails when one worker is lost.
        "spark.master": f"local[{machine.workers},4]",
        "spark.driver.memory": f"{machine.driver_memory // 2**20}m",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": " ".join(
            [
                f"-Dlog4j.configurationFile={_logging()}",
                "-XX:-UsePerfData",  # would write to /tmp, which may be full
                "-XX:+UseSerialGC",  # parallel collectors compete with the workers for cores
                # Skip Arrow's checks per element: there are 1,280 per row.
                "-Darrow.enable_unsafe_memory_access=true",
                "-Darrow.enable_null_check_for_get=false",
            ]
        ),
        "spark.python.daemon.module": "spark_src.spark.worker_daemon",
        "spark.hadoop.fs.permissions.umask-mode": "077",  # Hadoop ignores the process's umask
    }


def _logging() -> str:
    """URI of the Log4j settings. Not computed on import: on YARN a module's path is relative."""
    return Path(__file__).resolve().with_name("log4j2.properties").as_uri()


def use_bundled_java() -> None:
    """Configure Spark to use the Java installed with pip and the running interpreter."""
    prepare_environment()


def start_local(config: Mapping[str, str], scratch: Path) -> SparkSession:
    """Start Spark in this process, or return the running session. Thread-safe.

    Args:
        config: see `local_config`.
        scratch: a private folder for this process's temporary files.
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
