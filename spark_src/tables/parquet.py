"""Parquet files of tables, read and written by workers with pyarrow, without the JVM.

With a DataFrame, half of the time would be spent passing 1,280 floats per row to Python.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from spark_src.errors import FruitsError, PcaError, StorageError, UnreadableVersionError
from spark_src.io.aws import aws_errors
from spark_src.io.locations import Location, unwritable_error
from spark_src.tables.delta import DataFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS_PER_BLOCK = 2048
"""Rows of vectors that are processed at a time (10 MB of features)."""

READING_THREADS = 16
"""Files whose footers and key columns are read concurrently: S3 reads are mostly latency."""

TASK_ATTEMPTS = 4
"""Attempts per task: Spark's default, and this project's setting for local mode."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Failure:
    """An error passed from a worker to the driver."""

    error: FruitsError


@contextmanager
def open_parquet(file: Location, verify: bool = False) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Args:
        file: its location.
        verify: verify each page's checksum, which adds a tenth to the time.

    Raises:
        UnreadableVersionError: the file is missing or damaged; may be raised only on reading.
        AwsError: the call to S3 failed.
    """
    try:
        with aws_errors(f"reading {file}"), file.open() as stream:
            yield pq.ParquetFile(stream, page_checksum_verification=verify)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Restore it, or delete the folder {file.parent} and "
            "materialize its asset again."
        ) from error


def new_name(number: int) -> str:
    """A unique name for a new file of a table."""
    return f"part-{number:05}-{uuid.uuid4().hex}.parquet"


def write_file(  # noqa: PLR0913, PLR0917 - options of the writer
    batches: Iterable[pa.RecordBatch | pa.Table],
    folder: Location,
    name: str,
    schema: pa.Schema,
    row_group_size: int = ROWS_PER_BLOCK,
    incompressible: Sequence[str] = (),
) -> DataFile:
    """Write one file of a table atomically; a commit makes it part of the table.

    Floats rarely repeat, so they get no dictionary encoding. LZ4 decompresses fastest.

    Args:
        batches: the rows.
        folder: the table's folder.
        name: the file's name.
        schema: the table's schema.
        row_group_size: rows per row group.
        incompressible: columns that are not compressed, such as encoded pictures.
    """
    texts = [column.name for column in schema if pa.types.is_string(column.type)]
    compression = {column.name: "LZ4" for column in schema} | dict.fromkeys(incompressible, "NONE")
    compression = {leaf: compression[leaf.split(".")[0]] for leaf in _leaves(schema)}
    buffer, rows = io.BytesIO(), 0
    with pq.ParquetWriter(
        buffer, schema, compression=compression, use_dictionary=texts, write_page_checksum=True
    ) as writer:
        for batch in batches:
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            writer.write_table(table, row_group_size=row_group_size)
            rows += table.num_rows
    content = buffer.getbuffer()
    write_whole(folder / name, content)
    return DataFile(name, content.nbytes, rows)


def write_whole(file: Location, content: bytes | memoryview) -> None:
    """Write a file atomically, even if this process is killed.

    Raises:
        StorageError: the disk is full or read-only, or this user may not write there.
        AwsError: the call to S3 failed.
    """
    if file.scheme == "s3":  # S3 writes are atomic
        file.write(content)
        return
    path = Path(file.path)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable_error(file, error) from error


def discard(folder: Location, files: Iterable[DataFile]) -> None:
    """Delete files in a table's folder that will not be committed.

    Without this, files that failed the audit would stay until a vacuum, and a later run might
    adopt their vectors.
    """
    for file in files:
        with suppress(FileNotFoundError):
            folder.filesystem.delete_file((folder / file.name).path)


def read_columns(files: Sequence[Location], columns: Sequence[str]) -> pa.Table:
    """Read columns of many files, adding `file` (index in `files`) and `row` (in that file).

    Raises:
        UnreadableVersionError: a file is missing or damaged.
    """

    def read(number: int) -> pa.Table:
        with open_parquet(files[number]) as parquet:
            table = parquet.read(columns=list(columns), use_threads=False)
        rows = table.num_rows
        table = table.append_column("file", pa.repeat(pa.scalar(number, pa.int32()), rows))
        return table.append_column("row", pa.array(range(rows), pa.int32()))

    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        tables = list(pool.map(read, range(len(files))))
    return pa.concat_tables(tables).combine_chunks() if tables else pa.table({})


def run_tasks(
    spark: SparkSession,
    items: Sequence[Item],
    work: Callable[[Iterable[Item]], Iterator[Result]],
    max_tasks: int | None = None,
) -> list[Result]:
    """Run `work` over all items on Spark, one task per item or at most `max_tasks`.

    The number of tasks depends on the data only: on YARN, an application that has just started
    sees two cores, whatever the size of the cluster.

    Raises:
        StorageError, PcaError: raised by the work, and not wrapped in an error of Spark's.
    """
    if not items:
        return []

    def guarded(share: Iterable[Item]) -> Iterator[Result | _Failure]:
        try:
            yield from work(share)
        except PcaError as error:
            yield _Failure(error)
        except StorageError as error:
            from pyspark import TaskContext

            task = TaskContext.get()
            if task and task.attemptNumber() < TASK_ATTEMPTS - 1:
                raise  # the file may be readable on a retry
            yield _Failure(error)

    tasks = min(len(items), max_tasks or len(items))
    results: list[Result] = []
    for result in spark.sparkContext.parallelize(items, tasks).mapPartitions(guarded).collect():
        if isinstance(result, _Failure):
            raise result.error
        results.append(result)
    return results


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's column names: the values of a list are a nested column."""
    return [
        f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name
        for column in schema
    ]
