"""Rows of a version for people and notebooks: Arrow, in this process, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from spark_src.errors import StorageError, UnreadableVersionError
from spark_src.io.aws import aws_errors
from spark_src.tables.delta import Snapshot, Tables, is_table, schema_of

Filter: TypeAlias = pc.Expression | Sequence[tuple[str, str, object]]
"""Which rows: an expression (`pc.field("split") == "Test"`), or (column, operator, value) triples
that all have to hold, as `pandas.read_parquet` takes them."""


def read_table(
    tables: Tables, asset: str, columns: Sequence[str] | None = None, where: Filter | None = None
) -> pa.Table:
    """Rows of the current version of a table, whatever is committed meanwhile.

    Args:
        tables: where it lies.
        asset: its name.
        columns: which ones, in this order; all by default.
        where: which rows; all by default.

    Raises:
        StorageError: no table has that name, or it has no such column.
        NothingStoredError: nothing was made yet.
        UnreadableVersionError: a file is gone or damaged.
        AwsError: S3 refused.
    """
    tables.prefix(asset)  # there is an asset of that name
    if not is_table(asset):
        raise StorageError(
            f"{asset} is a file, not a table: `uv run fruits path {asset}` prints where it is, and "
            "docs/reading.md says how to open it."
        )
    return read_rows(tables.current(asset), columns, where)


def read_rows(
    snapshot: Snapshot, columns: Sequence[str] | None = None, where: Filter | None = None
) -> pa.Table:
    """Rows of a version of a table; arguments and errors as of `read_table`."""
    scanner = _scanner(snapshot, columns, where)
    try:
        with aws_errors(f"reading {snapshot.location}"):
            return scanner.to_table()
    except (OSError, pa.ArrowException) as error:
        asset, folder = snapshot.asset, snapshot.location
        raise UnreadableVersionError(
            f"{asset}: version {snapshot.version} under {folder} cannot be read ({error}). Try "
            f"again; where it stays so, restore the file, or materialize {asset} again."
        ) from error


def _scanner(snapshot: Snapshot, columns: Sequence[str] | None, where: Filter | None) -> ds.Scanner:
    try:
        return _dataset(snapshot).scanner(
            columns=None if columns is None else list(columns),
            filter=None if where is None else pq.filters_to_expression(where),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason, names = str(error).splitlines()[0], schema_of(snapshot.asset).names
        raise StorageError(
            f"{snapshot.asset} has no such columns, or not of that type ({reason}). Its columns "
            f"are {', '.join(names)}."
        ) from error


def _dataset(snapshot: Snapshot) -> ds.Dataset:
    return ds.FileSystemDataset.from_paths(
        [location.path for location in snapshot.locations],
        schema=schema_of(snapshot.asset),
        format=ds.ParquetFileFormat(),
        filesystem=snapshot.location.filesystem,
    )
