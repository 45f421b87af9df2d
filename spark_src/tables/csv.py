"""The CSV file: RFC 4180, UTF-8, one header, one row an image."""

from __future__ import annotations

import csv
import io

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_src.io.locations import Location
from spark_src.tables.schemas import require_columns

FILE = "pca_components.csv"
"""The name of the one file in a version's folder."""


def flatten(components: DataFrame, n_components: int) -> DataFrame:
    """A column for each component, `pca_0` …, rows sorted by path, in one partition."""
    columns = [F.col("pca")[index].alias(f"pca_{index}") for index in range(n_components)]
    flat = require_columns(components, "pca_components").select(
        "image_id", "path", "split", "label", *columns
    )
    return flat.coalesce(1).sortWithinPartitions("path")


def write_csv(rows: DataFrame, folder: Location) -> Location:
    """Write a one-partition table as `FILE` in the folder; return where the file lies."""
    (
        rows.write.mode("append")
        .option("header", "true")
        # RFC 4180, as pandas and spreadsheets read it; Spark's own default is a backslash.
        .option("escape", '"')
        .option("ignoreLeadingWhiteSpace", "false")
        .option("ignoreTrailingWhiteSpace", "false")
        .csv(folder.hadoop)
    )
    part = next(f for f in folder.files() if f.base_name.startswith("part-"))
    target = folder / FILE
    folder.filesystem.move(part.path, target.path)
    return target


def count_rows(file: Location) -> int:
    """Rows of a CSV file, the header not counted; a quoted line break ends no row."""
    with file.filesystem.open_input_stream(file.path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        return sum(1 for _ in csv.reader(text)) - 1
