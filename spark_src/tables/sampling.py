"""Reads a small, deterministic sample of a stored table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import open_parquet

MAX_FILES = 32
MAX_BYTES = 64 * 2**20
_ROWS_AT_ONCE = 128


def sample_rows(snapshot: Snapshot, columns: Sequence[str], rows: int) -> pa.Table | None:
    """Read the first rows of evenly chosen files: at most `rows` from at most `MAX_FILES` files.

    Returns:
        None if the table is empty.

    Raises:
        UnreadableVersionError: a file is damaged or missing.
    """
    files = _evenly(snapshot.locations, MAX_FILES)
    batches = [batch for file in files for batch in _head(file, columns, rows, len(files))]
    table = pa.Table.from_batches(batches) if batches else None
    return table.slice(0, rows) if table else None


def _head(
    file: Location, columns: Sequence[str], rows: int, files: int
) -> Iterator[pa.RecordBatch]:
    rows_left, bytes_left = -(-rows // files), MAX_BYTES // files
    with open_parquet(file) as parquet:
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=list(columns), use_threads=False):
            yield batch.slice(0, rows_left)
            rows_left -= batch.num_rows
            bytes_left -= batch.nbytes
            if rows_left <= 0 or bytes_left <= 0:
                return


def _evenly(files: Sequence[Location], most: int) -> list[Location]:
    indices = np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).astype(int))
    return [files[index] for index in indices]
