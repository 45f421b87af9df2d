"""`fruits classify`: classify single pictures with the current classifier."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.errors import InputError

UNUSABLE = 1


def classify(
    files: Annotated[list[str], typer.Argument(help="Pictures: paths or s3:// URIs.")],
    most: Annotated[int, typer.Option("-n", "--labels", min=1, help="Labels to print.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Every probability, as JSON.")] = False,
) -> None:
    """Print the most likely labels of pictures, with their probabilities.

    Uses the classifier file that is deployed to phones (`fruits path fruit_classifier`).

    Exits with 1 when a file is not a usable picture; the others are still printed.
    """
    from fruits_assets.embedding import read_picture
    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.classifier import classify as probabilities_of
    from spark_src.evaluation.classifier_files import load_model
    from spark_src.evaluation.picture_model import PictureClassifier
    from spark_src.images.rejection import Limits
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

    settings = settings_in_region(also=map(Location.parse, files))
    limits = Limits(max_side=settings.max_side)
    tables = Tables(settings.storage_location)
    classifier = PictureClassifier(load_model(tables.current("fruit_classifier")))
    found: dict[str, dict[str, float]] = {}
    for file in files:
        try:
            found[file] = probabilities_of(read_picture(file), classifier, limits)
        except InputError as error:
            Console(stderr=True).print(
                f"[red]error:[/red] {escape(f'{file}: {error}')}", soft_wrap=True
            )
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    elif found:
        _print(found, most)
        say_next(f"search {shlex.quote(next(iter(found)))}", "the most similar images")
    raise typer.Exit(0 if len(found) == len(set(files)) else UNUSABLE)


def _print(found: dict[str, dict[str, float]], most: int) -> None:
    table = Table("picture", "label", "probability")
    for file, shares in found.items():
        for rank, (label, share) in enumerate(list(shares.items())[:most]):
            table.add_row(escape(file) if rank == 0 else "", escape(label), f"{share:.1%}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
