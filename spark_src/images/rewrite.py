"""Files of `raw_images` rewritten: without rows that go, or several small ones as one."""

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
    """A new file, and the files that it is made of, each with the rows that are left out."""

    name: str
    sources: tuple[tuple[Location, NDArray[np.int64]], ...]


def rewriter(folder: Location) -> Callable[[Iterable[Rewrite]], Iterator[DataFile]]:
    """What a task does: copy the rows that stay.

    Args:
        folder: where the table's files go.
    """

    def rewrite(items: Iterable[Rewrite]) -> Iterator[DataFile]:
        for item in items:
            yield write_file(
                _kept(item),
                folder,
                item.name,
                RAW_IMAGES,
                row_group_size=ROWS_PER_GROUP,
                incompressible=["content"],
            )

    return rewrite


def _kept(item: Rewrite) -> Iterator[pa.RecordBatch]:
    for location, dropped in item.sources:
        start = 0
        with open_parquet(location, verify=True) as parquet:
            for batch in parquet.iter_batches(ROWS_PER_GROUP, use_threads=False):
                rows = np.arange(start, start + batch.num_rows)
                start += batch.num_rows
                yield batch.filter(pa.array(~np.isin(rows, dropped)))
