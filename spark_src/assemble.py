"""A version's files out of features that lie anywhere: each source is read once, Spark sorts.

Were each file to look up its own rows, a million pictures would be read sixty times over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_src.io.locations import Location
from spark_src.spark.session import vectors_session
from spark_src.tables.vector_files import VECTORS_PER_BLOCK, rows_of_blocks, write_vectors
from spark_src.tables.vectors import FEATURES, float_lists

BLOCKS_PER_FILE = 8
"""84 MB of features. The number of cores has no say in it, so that blocks are always the same."""

TABLE = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("features", pa.list_(pa.float32())),
        ("model", pa.string()),
    ]
)

_TEXTS = ["image_id", "path", "split", "label"]
_KEYS = ["block", "place", *_TEXTS]
"""What travels beside the features: the block of the table a row goes to, its place there."""


def write_files(spark: SparkSession, located: pd.DataFrame, model: str, folder: Location) -> None:
    """Write a version's table.

    Args:
        spark: shares out reading and writing.
        located: the rows in their order; of each its texts, and `file`, `row` of its features.
        model: the digest that each row names.
        folder: where the files go; see `places_of` for which row is where.
    """
    if located.empty:
        write_vectors([], folder / _name_of(0), TABLE)
        return
    travelling = _travelling(spark, located, folder.scheme)
    shared_out = travelling.repartition(F.expr(f"block div {BLOCKS_PER_FILE}"))
    ordered = shared_out.sortWithinPartitions("block", "place")
    ordered.mapInArrow(_writer(model, folder), "file string").collect()


def places_of(rows: int) -> tuple[list[str], NDArray[np.int32]]:
    """For each row of the table the name of its file, and its place there."""
    number, place = np.divmod(np.arange(rows, dtype=np.int32), BLOCKS_PER_FILE * VECTORS_PER_BLOCK)
    return [_name_of(file) for file in number], place


def _name_of(number: int) -> str:
    return f"part-{number:05}.parquet"


def _travelling(spark: SparkSession, located: pd.DataFrame, scheme: str) -> DataFrame:
    block, place = np.divmod(np.arange(len(located), dtype=np.int32), VECTORS_PER_BLOCK)
    rows = located[["file", "row", *_TEXTS]].assign(block=block, place=place)
    wanted = vectors_session(spark).createDataFrame(rows.sort_values(["file", "row"]))
    return wanted.mapInArrow(
        _reader(scheme),
        "block int, place int, image_id string, path string, split string, label string, "
        "features binary",
    )


def _reader(scheme: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for path, rows in _runs(batches, "file"):
            wanted = rows["row"].to_numpy()
            for found, features in rows_of_blocks(Location(scheme, path), wanted):
                keys = rows.take(pa.array(found)).select(_KEYS)
                yield from keys.append_column("features", _as_bytes(features)).to_batches()

    return read


def _writer(
    model: str, folder: Location
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        blocks = _runs(batches, "block")
        for number, own in groupby(blocks, lambda block: block[0] // BLOCKS_PER_FILE):
            tables = (_table(rows, model) for _, rows in own)
            write_vectors(tables, folder / _name_of(number), TABLE)
            yield pa.RecordBatch.from_pydict({"file": [_name_of(number)]})

    return write


def _runs(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[tuple[Any, pa.Table]]:
    """Neighbouring rows that have a column's value in common, with this value."""
    for value, pieces in groupby(_pieces(batches, column), itemgetter(0)):
        yield value, pa.Table.from_batches([piece for _, piece in pieces])


def _pieces(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    for batch in batches:
        values = batch[column].to_numpy(zero_copy_only=False)
        starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1), len(values)]
        for start, end in pairwise(starts):
            yield values[start], batch[start:end]


def _table(rows: pa.Table, model: str) -> pa.Table:
    """A block as it is stored."""
    columns: dict[str, Any] = {name: rows[name] for name in _TEXTS}
    columns["features"] = float_lists(_as_matrix(rows["features"]))
    columns["model"] = pa.array([model] * len(rows))
    return pa.table(columns, schema=TABLE)


def _as_bytes(features: NDArray[np.float32]) -> pa.Array:
    """Vectors (n, 1280) as n values over the same memory."""
    offsets = np.arange(len(features) + 1, dtype=np.int32) * (FEATURES * features.itemsize)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(features))]
    return pa.Array.from_buffers(pa.binary(), len(features), buffers)


def _as_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """The vectors (n, 1280) of n values of `_as_bytes`."""
    matrix = np.empty((len(column), FEATURES), np.float32)
    end = 0
    for chunk in column.chunks:
        start, end = end, end + len(chunk)
        floats = np.frombuffer(chunk.buffers()[2], np.float32).reshape(-1, FEATURES)
        matrix[start:end] = floats[chunk.offset : chunk.offset + len(chunk)]
    return matrix
