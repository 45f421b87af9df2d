"""`fruits compare`: compare another model's tables with the current ones on held-out images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.errors import SettingsError
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from spark_src.tables.model_comparison import Comparison

WORSE = 1


def compare(
    candidate: Annotated[
        str | None,
        typer.Argument(
            help="Storage with the assets of the other model; FRUITS_CANDIDATE by default."
        ),
    ] = None,
) -> None:
    """Compare another model with the current one by its accuracy on held-out images.

    The differences have confidence intervals. Exits with 1 when the candidate is significantly
    worse.
    """
    from fruits_assets.settings import load_settings
    from spark_src.evaluation.comparison import compare_tables
    from spark_src.tables.delta import Tables

    settings = load_settings()
    uri = candidate or settings.candidate
    if uri is None:
        raise SettingsError("Name the storage of the other model, or set FRUITS_CANDIDATE to it.")
    current, other = settings.storage_location, Location.parse(uri)
    settings.require_in_region([current, other])
    found = compare_tables(Tables(current), Tables(other))
    _print(found)
    say_next("history mobilenet_features", "the versions of the current model's features")
    raise typer.Exit(WORSE if any(answer.is_worse for answer in found) else 0)


def _print(found: list[Comparison]) -> None:
    rows = [answer.cells() for answer in found]
    table = Table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
