"""Versions of tables as Spark DataFrames. Reading them without Spark: `reading.py`."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from spark_src.tables.delta import Snapshot, schema_of

_GLOB = re.compile(r"[{}\[\]*?\\]")
"""Characters with a special meaning in Hadoop's glob patterns."""


def read_files(spark: SparkSession, snapshot: Snapshot) -> DataFrame:
    """A version of a table, read as plain Parquet: delta-rs writes no deletion vectors."""
    schema = from_arrow_schema(schema_of(snapshot.asset))
    if not snapshot.files:
        return spark.createDataFrame([], schema)
    # Names are escaped instead of disabling globs (`__globPaths__`): with that option, Spark 3.5
    # reads all files once more for each name that looks like a pattern.
    names = [_GLOB.sub(r"\\\g<0>", file.hadoop) for file in snapshot.locations]
    return spark.read.schema(schema).parquet(*names)
