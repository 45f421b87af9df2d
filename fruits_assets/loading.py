"""`load`: read the current rows of a table in notebooks and scripts. No Dagster, no Spark."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_src.tables.reading import Filter

Kind = Literal["pandas", "arrow", "polars"]


def load(
    asset: str,
    columns: Sequence[str] | None = None,
    filter: Filter | None = None,  # noqa: A002 - what pandas and Polars call it
    storage: str | PathLike[str] | None = None,
    kind: Kind = "pandas",
) -> Any:
    """The current version of a table.

    Args:
        asset: `raw_images`, `rejected_images`, `mobilenet_features` or `pca_components`.
        columns: the columns to read; all by default, including the pictures of `raw_images`.
        filter: the rows to read, e.g. `[("split", "=", "Test")]` or a pyarrow expression.
        storage: a folder or an s3:// URI; FRUITS_STORAGE by default.
        kind: the library of the returned table.

    Returns:
        A `pandas.DataFrame`, a `pyarrow.Table` or a `polars.DataFrame`.

    Raises:
        FruitsError: the table does not exist or has no version, or a bucket is outside the
            configured region; the message says how to fix it.
        ImportError: the library is not installed.
    """
    # Imported here, so that `from fruits_assets import load` is fast.
    from fruits_assets.settings import settings_in_region
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables
    from spark_src.tables.reading import read_table

    convert = _CONVERSIONS.get(kind)
    if convert is None:
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(_CONVERSIONS)}.")
    root = None if storage is None else Location.parse(str(storage))
    settings = settings_in_region(root)
    tables = Tables(root or settings.storage_location)
    return convert(read_table(tables, asset, columns, filter))


def _pandas(table: pa.Table) -> Any:
    return table.to_pandas()


def _polars(table: pa.Table) -> Any:
    try:
        import polars
    except ImportError as error:
        raise ImportError(
            "polars is not installed. Install it with `uv pip install polars`, or omit "
            'kind="polars".'
        ) from error
    return polars.from_arrow(table)


_CONVERSIONS = {"pandas": _pandas, "arrow": lambda table: table, "polars": _polars}
