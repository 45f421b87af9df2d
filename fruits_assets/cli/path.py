"""`fruits path`: where an asset's current version is."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_src.contract import PREFIXES
from spark_src.tables.delta import Tables


def path(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
) -> None:
    """Print where an asset's current version is: the folder of a Delta table, or a file.

    docs/reading.md shows how pandas, Polars, DuckDB, Spark and Athena open it.
    """
    from fruits_assets.settings import settings_in_region

    snapshot = Tables(settings_in_region().storage_location).current(asset)
    typer.echo(snapshot.data_location.uri)
