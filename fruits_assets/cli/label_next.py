"""`fruits label-next`: the unlabelled photos that are most worth labelling."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.errors import InputError


def label_next(
    most: Annotated[
        int, typer.Option("-n", "--photos", min=1, help="How many photos to list.")
    ] = 50,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="Write the list to this file. Fill in its last column to get a labels.csv.",
        ),
    ] = None,
) -> None:
    """Print the unlabelled photos that would improve the classifier most.

    The classifier is uncertain about them, and they differ from the training images and from each
    other.
    """
    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.label_next_files import list_content, unlabelled
    from spark_src.tables.delta import Tables

    found = unlabelled(Tables(settings_in_region().storage_location), most)
    if csv is not None:
        try:
            csv.write_bytes(list_content(found))
        except OSError as error:
            raise InputError(f"{csv} cannot be written ({error}); choose another file") from error
    table = Table("path", "score", "uncertainty", "novelty", "suggested")
    for row in found.itertuples():
        numbers = (f"{value:.2f}" for value in (row.score, row.uncertainty, row.novelty))
        table.add_row(escape(row.path), *numbers, escape(row.suggested))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if csv is None:
        say_next("label-next --csv next.csv", "the list as a file to fill in")
    else:
        say_next("run", f"applies the labels, once {csv} is filled in and saved as labels.csv")
