"""`fruits path`: print the location of an asset's current version."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from spark_src.contract import PREFIXES

READERS = {
    "csv_export": "pandas.read_csv(PATH)",
    "mobilenet_model": "ai_edge_litert.interpreter.Interpreter(model_path=PATH)",
    "pca_model": "pyarrow.parquet.read_table(PATH + '/pca_model.parquet')",
}
"""How to open assets that are not tables."""


def path(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
) -> None:
    """Print the location of an asset's current version: the folder of a Delta table, or a file.

    In Python, `fruits_assets.load("pca_components")` returns the rows. docs/reading.md shows how
    to open the path with pandas, Polars, DuckDB, Spark and Athena.
    """
    from fruits_assets.settings import settings_in_region
    from spark_src.tables.delta import Tables

    snapshot = Tables(settings_in_region().storage_location).current(asset)
    typer.echo(snapshot.data_location.uri)
    if sys.stderr.isatty():  # standard output has to stay one line, for $(fruits path …)
        reader = READERS.get(asset, f'fruits_assets.load("{asset}")')
        typer.echo(f"open it with: {reader}; others: docs/reading.md", err=True)
