"""Reads single pictures of `raw_images` by path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import open_parquet, read_columns

_COLUMNS = ["path", "split", "label", "content", "orientation"]


def read_pictures(images: Snapshot, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the rows of pictures by path; unknown paths are left out.

    For other pictures only the path column is read.

    Raises:
        UnreadableVersionError: a file is missing or damaged.
    """
    wanted = set(paths)
    if not wanted or not images.files:
        return {}
    keys = read_columns(images.locations, ["path"])
    keys = keys.filter(pc.is_in(keys["path"], pa.array(sorted(wanted), pa.string())))
    rows_by_file: dict[int, list[int]] = defaultdict(list)
    for file, row in zip(keys["file"].to_pylist(), keys["row"].to_pylist(), strict=True):
        rows_by_file[file].append(row)
    found = {}
    for file, rows in rows_by_file.items():
        for row in _rows(images, file, rows):
            found[row["path"]] = row
    return found


def _rows(images: Snapshot, file: int, rows: list[int]) -> list[dict[str, Any]]:
    """Rows of a file; only their row groups are read."""
    with open_parquet(images.locations[file]) as parquet:
        sizes = [
            parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)
        ]
        ends = np.cumsum(sizes)
        groups = np.searchsorted(ends, rows, side="right")
        found: list[dict[str, Any]] = []
        for number in np.unique(groups):
            inside = np.array(rows)[groups == number] - (ends[number] - sizes[number])
            table = parquet.read_row_group(int(number), columns=_COLUMNS, use_threads=False)
            found += table.take(inside).to_pylist()
    return found
