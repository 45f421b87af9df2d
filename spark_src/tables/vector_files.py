"""Vectors straight between Parquet files and NumPy, in tasks of Spark: its JVM never sees a float.

Through a DataFrame, half of the time would go into handing 1,280 floats a row to Python one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.io.aws import explained
from spark_src.io.locations import Location
from spark_src.tables.vectors import FEATURES, matrix_of

VECTORS_PER_BLOCK = 2048
"""Rows of a row group (10 MB of features). Sums and projections go block by block, so that their
last bit depends on the rows alone, not on how files and tasks share them out."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Block:
    """One row group of a file."""

    file: Location
    number: int

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, at most `VECTORS_PER_BLOCK` at once.

        Raises:
            UnreadableVersionError: the file is damaged or gone.
        """
        with opened(self.file) as parquet:
            yield from parquet.iter_batches(
                VECTORS_PER_BLOCK,
                row_groups=[self.number],
                columns=list(columns),
                use_threads=False,  # every core has a task already
            )


@contextmanager
def opened(file: Location, verify: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file.

    Args:
        file: where it is.
        verify: hold each page to its checksum; it takes a tenth of the time.

    Raises:
        UnreadableVersionError: it is gone or damaged, which may show only when it is read.
        AwsError: S3 refused.
    """
    try:
        with explained(f"reading {file}"), file.filesystem.open_input_file(file.path) as stream:
            yield pq.ParquetFile(stream, page_checksum_verification=verify)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Materialize its asset again; mobilenet_features, "
            "which takes over what it has, with `recompute: true` in the run's config."
        ) from error


def data_files(folder: Location) -> list[Location]:
    """The table's files in a folder, in order; names that begin with _ or . are none."""
    names = [file for file in folder.files() if file.base_name.startswith("part-")]
    return [Location(folder.scheme, file.path) for file in names]


def blocks_of(folder: Location) -> list[Block]:
    """Every row group of the table in the folder, in order."""
    blocks = []
    for file in data_files(folder):
        with opened(file) as parquet:
            blocks += [Block(file, number) for number in range(parquet.num_row_groups)]
    return blocks


def key_columns(files: Sequence[Location], columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of many files, with `file` (its path) and `row` (the place in the file)."""
    names = [*columns, "file", "row"]
    if not files:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in names})
    dataset = ds.dataset([file.path for file in files], filesystem=files[0].filesystem)
    with explained(f"reading {files[0].parent}"):
        table = dataset.to_table(columns=[*columns, "__filename"]).rename_columns(names[:-1])
    rows = table.to_pandas()
    rows["row"] = rows.groupby("file", sort=False).cumcount()
    return rows


def read_rows(file: Location, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The features of some rows of a file, verified: (n, 1280), in the order asked for."""
    found = np.empty((len(rows), FEATURES), np.float32)
    for places, features in rows_of_blocks(file, rows):
        found[places] = features
    return found


def rows_of_blocks(
    file: Location, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The features of some rows of a file, verified, block by block.

    Yields:
        places in `rows`, (n,), and their features, (n, 1280).
    """
    with opened(file, verify=True) as parquet:
        sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
        ends = np.cumsum(sizes)
        group_of = np.searchsorted(ends, rows, side="right")
        for group in np.unique(group_of):
            table = parquet.read_row_group(int(group), ["features"], use_threads=False)
            vectors = matrix_of(table["features"].combine_chunks())
            places = np.flatnonzero(group_of == group)
            yield places, vectors[rows[places] - (ends[group] - sizes[group])]


def write_vectors(tables: Iterable[pa.Table], file: Location, schema: pa.Schema) -> None:
    """Write one file of a table of vectors: blocks of a fixed size, checksums, floats as they are.

    Floats hardly repeat: a dictionary of them is built and thrown away. LZ4 reads fastest.

    Args:
        tables: the rows, a block or many at a time; no more than one of these is in memory.
        file: where to.
        schema: the table's; its lists are the vectors.
    """
    names = [field.name for field in schema if not pa.types.is_list(field.type)]
    with pq.ParquetWriter(
        file.path,
        schema,
        filesystem=file.filesystem,
        compression="lz4",
        use_dictionary=names,
        write_page_checksum=True,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=VECTORS_PER_BLOCK)
            del table  # else it is in memory while the next is made


def in_tasks(
    spark: SparkSession,
    items: Sequence[Any],
    work: Callable[[Iterable[Any]], Iterator[Result]],
    tasks: int | None = None,
) -> list[Result]:
    """What the work makes of all items, shared out to Spark's workers in runs of neighbours."""
    if not items:
        return []
    shares = min(len(items), tasks or spark.sparkContext.defaultParallelism)
    return spark.sparkContext.parallelize(items, shares).mapPartitions(work).collect()
