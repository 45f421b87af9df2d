"""The CSV file: RFC 4180, UTF-8, one header, one row an image, sorted by path. Spark sorts.

It opens in a spreadsheet: no name of a file becomes a formula there.
"""

from __future__ import annotations

import csv
import io

from pyspark.sql import Column, DataFrame, SparkSession
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

FORMAT = "2"
"""Of the file: another one is written anew from the same components."""

BYTE_ORDER_MARK = "\ufeff"
"""At the start of a file it tells Excel that the text is UTF-8."""

_FORMULA = r"^[=+\-@\t\r]"
"""How cells begin that a spreadsheet computes: a file may be called `=HYPERLINK(…).jpg`."""

_BUFFER_BYTES = 2**20


def flatten(
    spark: SparkSession, components: Snapshot, n_components: int, byte_order_mark: bool = False
) -> DataFrame:
    """A column for each component, `pca_0` …, rows sorted by path, in one partition.

    Args:
        spark: the session.
        components: a version of `pca_components`.
        n_components: how many there are.
        byte_order_mark: begin the header, and so the file, with it.
    """
    columns = [F.col("pca")[index].alias(f"pca_{index}") for index in range(n_components)]
    flat = read_files(spark, components).select(*KEYS, *columns)
    rows = (
        flat.coalesce(1)
        .sortWithinPartitions("path")
        .select(*map(harmless, KEYS), *flat.columns[len(KEYS) :])
    )
    first = KEYS[0]
    return rows.withColumnRenamed(first, BYTE_ORDER_MARK + first) if byte_order_mark else rows


def harmless(column: str) -> Column:
    """A text that a spreadsheet shows and does not compute: an apostrophe is put before it."""
    text = F.col(column)
    return F.when(text.rlike(_FORMULA), F.concat(F.lit("'"), text)).otherwise(text).alias(column)


def has_byte_order_mark(file: Location) -> bool:
    """Whether a file is there and begins with it."""
    if not file.exists():
        return False
    with file.filesystem.open_input_stream(file.path) as stream:
        return bool(stream.read(3) == BYTE_ORDER_MARK.encode())


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
    """Rows of a CSV file, the header not counted; a quoted line break ends no row."""
    # Else each 8 kB are a call to S3.
    with file.filesystem.open_input_stream(file.path, buffer_size=_BUFFER_BYTES) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        return sum(1 for _ in csv.reader(text)) - 1
