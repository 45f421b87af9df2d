"""The CSV file: RFC 4180, UTF-8, one header, one row an image, sorted by path. Spark sorts."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import csv as pa_csv
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_src.errors import AuditError
from spark_src.io.locations import Location
from spark_src.spark.session import read_files
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.schemas import KEYS
from spark_src.tables.statistics import ComponentsStatistics, CsvStatistics

FILE = "pca_components.csv"
"""The one stable name under the asset's folder."""

STAGED = "_staged"

_BUFFER_BYTES = 2**20


def flatten(spark: SparkSession, components: Snapshot, n_components: int) -> DataFrame:
    """A column for each component, `pca_0` …, rows sorted by path, in one partition."""
    columns = [F.col("pca")[index].alias(f"pca_{index}") for index in range(n_components)]
    flat = read_files(spark, components).select(*KEYS, *columns)
    return flat.coalesce(1).sortWithinPartitions("path")


def write_staged(rows: DataFrame, folder: Location, run_id: str) -> Location:
    """Write a one-partition table as a CSV file beside the one that is current.

    Args:
        rows: see `flatten`.
        folder: of the asset.
        run_id: two runs write two files.
    """
    staged = folder / STAGED / run_id
    staged.delete_folder()
    (
        rows.write.mode("append")
        .option("header", "true")
        # RFC 4180, as pandas and spreadsheets read it; Spark's own default is a backslash.
        .option("escape", '"')
        .option("ignoreLeadingWhiteSpace", "false")
        .option("ignoreTrailingWhiteSpace", "false")
        .csv(staged.hadoop)
    )
    part = next(f for f in staged.files() if f.base_name.startswith("part-"))
    return Location(staged.scheme, part.path)


def statistics_of(staged: Location, digest: str, components: Snapshot) -> CsvStatistics:
    """What the commit says of a staged file.

    Raises:
        AuditError: it does not have a row for each image.
    """
    rows = count_rows(staged)
    if rows != components.rows:
        raise AuditError(
            f"csv_export: {rows:,} rows were written of {components.rows:,} images. Nothing was "
            "committed, and the file before is still current. Materialize csv_export again."
        )
    return CsvStatistics(
        digest=digest,
        rows=rows,
        files=(FILE,),
        n_components=components.typed(ComponentsStatistics).n_components,
        file_bytes=staged.size or 0,
    )


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the file that is there holds just these components.

    The file is not read: its size is compared, and nothing may be left of a run that was killed
    between its commit and the replacement of the file.
    """
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    if (write.location / STAGED / before.record.run_id).exists():
        return False
    return (write.location / FILE).size == before.typed(CsvStatistics).file_bytes


def replace_file(staged: Location, folder: Location) -> Location:
    """Give the staged file its stable name: readers see all of the old or all of the new one."""
    target = folder / FILE
    staged.filesystem.move(staged.path, target.path)
    (folder / STAGED).delete_folder()
    return target


def count_rows(file: Location) -> int:
    """Rows of a CSV file, the header not counted; a quoted line break ends no row.

    A row that was cut short does not count, and a file of something else has none.
    """
    parse = pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
    # One column as it is written: nothing of the others is converted.
    convert = pa_csv.ConvertOptions(
        include_columns=["path"], column_types={"path": pa.binary()}, check_utf8=False
    )
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BUFFER_BYTES)
    # Else each 8 kB are a call to S3.
    with file.filesystem.open_input_stream(file.path, buffer_size=_BUFFER_BYTES) as stream:
        try:
            with pa_csv.open_csv(stream, read, parse, convert) as batches:
                return sum(batch.num_rows for batch in batches)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return 0
