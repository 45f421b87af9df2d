"""Parquet files of tables, read and written by workers with pyarrow: the JVM never sees a row.

Through a DataFrame, half of the time would go into handing 1,280 floats a row to Python one by one.
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
"""Rows of vectors that are worked on at once (10 MB of features)."""

READING_THREADS = 16
"""Footers and key columns of many files are read at once: in S3 it is mostly waiting."""

TASK_ATTEMPTS = 4
"""How often Spark tries a task, by default and in our settings."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker to the driver."""

    error: FruitsError


@contextmanager
def open_parquet(file: Location, verify: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file.

    Args:
        file: where it is.
        verify: compare each page with its checksum; it takes a tenth of the time.

    Raises:
        UnreadableVersionError: it is gone or damaged, which may show only when it is read.
        AwsError: S3 refused.
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
    """A name for a new file of a table: nobody else has it."""
    return f"part-{number:05}-{uuid.uuid4().hex}.parquet"


def write_file(  # noqa: PLR0913, PLR0917 - where, and how
    batches: Iterable[pa.RecordBatch | pa.Table],
    folder: Location,
    name: str,
    schema: pa.Schema,
    row_group_size: int = ROWS_PER_BLOCK,
    incompressible: Sequence[str] = (),
) -> DataFile:
    """Write one file of a table, whole or not at all; it is part of the table once committed.

    Floats hardly repeat: a dictionary of them would be built and thrown away. LZ4 reads fastest.

    Args:
        batches: the rows.
        folder: of the table.
        name: of the file.
        schema: of the table.
        row_group_size: rows of a row group, the least that is read at once.
        incompressible: columns that are stored as they are, pictures for instance.
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
    """Write a file so that it is there whole or not at all, also where this process is killed.

    Raises:
        StorageError: the disk is full or read-only, or this user may not write there.
        AwsError: S3 refused.
    """
    if file.scheme == "s3":  # an object is there when it is whole
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
    """Delete files of a table's folder that no commit will make part of it.

    Else pictures that were refused would lie there until a vacuum, and a later run might take over
    vectors that were.
    """
    for file in files:
        with suppress(FileNotFoundError):
            folder.filesystem.delete_file((folder / file.name).path)


def read_columns(files: Sequence[Location], columns: Sequence[str]) -> pa.Table:
    """Some columns of many files, with `file` (its index in `files`) and `row` (in the file).

    Raises:
        UnreadableVersionError: a file is gone or damaged.
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
    """What the work makes of all items, a task an item, or shared out to `max_tasks`.

    The number of tasks follows from the data: on YARN, an application that has just started knows
    of two cores, whatever the cluster has.

    Raises:
        StorageError, PcaError: as the work raised them; Spark would bury them in its own errors.
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
                raise  # a file that cannot be read now may be readable in a moment
            yield _Failure(error)

    tasks = min(len(items), max_tasks or len(items))
    results: list[Result] = []
    for result in spark.sparkContext.parallelize(items, tasks).mapPartitions(guarded).collect():
        if isinstance(result, _Failure):
            raise result.error
        results.append(result)
    return results


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns: a list's values are a column of their own."""
    return [
        f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name
        for column in schema
    ]
