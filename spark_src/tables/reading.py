"""Reads tables into Arrow in this process, without Spark. For notebooks and the CLI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_src.errors import StorageError, UnreadableVersionError
from spark_src.io.aws import aws_errors
from spark_src.tables.delta import Snapshot, Tables, is_table, schema_of

if TYPE_CHECKING:
    import pyarrow.dataset as ds

Filter: TypeAlias = pc.Expression | Sequence[tuple[str, str, object]]
"""A row filter: an expression (`pc.field("split") == "Test"`), or a list of (column, operator,
value) triples, combined with AND, as for `pandas.read_parquet`."""


def read_table(
    tables: Tables, asset: str, columns: Sequence[str] | None = None, where: Filter | None = None
) -> pa.Table:
    """Read the current version of a table; commits during the read have no effect on it.

    Args:
        tables: the storage.
        asset: the table's name.
        columns: the columns, in this order; all by default.
        where: the row filter; all rows by default.

    Raises:
        StorageError: no table has that name, or it has no such column.
        NothingStoredError: the table was never materialized.
        UnreadableVersionError: a file is missing or damaged.
        AwsError: the call to S3 failed.
    """
    tables.prefix(asset)  # raises if there is no such asset
    if not is_table(asset):
        raise StorageError(
            f"{asset} is a file, not a table: `uv run fruits path {asset}` prints where it is, and "
            "docs/reading.md says how to open it."
        )
    return read_rows(tables.current(asset), columns, where)


def read_rows(
    snapshot: Snapshot, columns: Sequence[str] | None = None, where: Filter | None = None
) -> pa.Table:
    """Read a version of a table; arguments and errors as for `read_table`."""
    scanner = _scanner(snapshot, columns, where)
    try:
        with aws_errors(f"reading {snapshot.location}"):
            return scanner.to_table()
    except (OSError, pa.ArrowException) as error:
        asset, folder = snapshot.asset, snapshot.location
        raise UnreadableVersionError(
            f"{asset}: version {snapshot.version} under {folder} cannot be read ({error}). Try "
            f"again; if it fails again, restore the file, or materialize {asset} again."
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
            f"{snapshot.asset} has no such columns, or their types differ ({reason}). Its columns "
            f"are {', '.join(names)}."
        ) from error


def _dataset(snapshot: Snapshot) -> ds.Dataset:
    import pyarrow.dataset as ds  # imports pandas: 0.5 s

    return ds.FileSystemDataset.from_paths(
        [location.path for location in snapshot.locations],
        schema=schema_of(snapshot.asset),
        format=ds.ParquetFileFormat(),
        filesystem=snapshot.location.filesystem,
    )
