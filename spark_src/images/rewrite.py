"""Rewrites files of `raw_images` to remove rows or to merge small files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_src.images.ingest import ROWS_PER_GROUP
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile
from spark_src.tables.parquet import open_parquet, write_file
from spark_src.tables.schemas import RAW_IMAGES


@dataclass(frozen=True, eq=False)
class Rewrite:
    """A new file, and its source files, each with the row numbers to leave out."""

    name: str
    sources: tuple[tuple[Location, NDArray[np.int64]], ...]


def rewriter(folder: Location) -> Callable[[Iterable[Rewrite]], Iterator[DataFile]]:
    """Return the task function: copy the remaining rows.

    Args:
        folder: the folder of the table's data files.
    """

    def rewrite(items: Iterable[Rewrite]) -> Iterator[DataFile]:
        for item in items:
            yield write_file(
                _remaining_batches(item),
                folder,
                item.name,
                RAW_IMAGES,
                row_group_size=ROWS_PER_GROUP,
                incompressible=["content"],
            )

    return rewrite


def _remaining_batches(item: Rewrite) -> Iterator[pa.RecordBatch]:
    for location, dropped in item.sources:
        start = 0
        with open_parquet(location, verify=True) as parquet:
            for batch in parquet.iter_batches(ROWS_PER_GROUP, use_threads=False):
                rows = np.arange(start, start + batch.num_rows)
                start += batch.num_rows
                yield batch.filter(pa.array(~np.isin(rows, dropped)))
