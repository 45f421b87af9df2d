"""`fruits embed`: compute the components of single pictures with the current models."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.errors import InputError, PcaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spark_src.embed import Embedding
    from spark_src.tables.delta import Tables

UNUSABLE = 1
N_SHOWN = 8
"""How many numbers `--steps` shows per step."""


class Form(StrEnum):
    """Output formats."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def embed(
    files: Annotated[list[str], typer.Argument(help="Pictures: paths or s3:// URIs.")],
    form: Annotated[Form, typer.Option("--format", help="Output format.")] = Form.TABLE,
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="With --format json: the first numbers of each step (pixels, features, "
            "components) instead of all components.",
        ),
    ] = False,
) -> None:
    """Print the components of pictures, as pca_components would contain them.

    Uses the current models in the storage; Spark is not started.

    Exits with 1 when a file is not a usable picture; the others are still printed.
    """
    from fruits_assets.embedding import current_models, read_picture
    from fruits_assets.settings import settings_in_region
    from spark_src.embed import embedding
    from spark_src.images.rejection import Limits
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

    settings = settings_in_region(also=map(Location.parse, files))
    limits = Limits(max_side=settings.max_side)
    model, pca = current_models(settings.storage_location)
    found: dict[str, Embedding] = {}
    for file in files:
        try:
            found[file] = embedding(read_picture(file), model, pca, limits)
        except InputError as error:
            Console(stderr=True).print(
                f"[red]error:[/red] {escape(f'{file}: {error}')}", soft_wrap=True
            )
    if found or form is not Form.TABLE:
        _print(found, form, steps)
    if found and form is Form.TABLE:
        _print_nearest(Tables(settings.storage_location), found)
    raise typer.Exit(0 if len(found) == len(set(files)) else UNUSABLE)


def _print(found: Mapping[str, Embedding], form: Form, steps: bool) -> None:
    if form is Form.JSON:
        rows = [_fields(file, embedding, steps) for file, embedding in found.items()]
        typer.echo("[" + ",\n".join(map(_json, rows)) + "]")
        return
    columns = {file: _numbers(embedding.components) for file, embedding in found.items()}
    length = max(map(len, columns.values()), default=0)
    names = [f"pca_{number}" for number in range(length)]
    if form is Form.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image_id", "path", *names])
        for file, numbers in columns.items():
            writer.writerow([found[file].image_id, file, *numbers])
        return
    table = Table("component", *(escape(file) for file in columns))
    for row in zip(names, *columns.values(), strict=True):
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _print_nearest(tables: Tables, found: Mapping[str, Embedding]) -> None:
    """Print the labels of the nearest stored pictures, and a next step."""
    import numpy as np

    from fruits_assets.embedding import nearest_labels

    vectors = np.stack([embedding.components for embedding in found.values()])
    try:
        labels = nearest_labels(tables, vectors)
    except PcaError as error:
        typer.echo(f"no nearest labels: {error}")
        return
    for file, nearest in zip(found, labels, strict=True):
        typer.echo(f"{file}: nearest labels: {nearest}")
    say_next("path pca_components", "the numbers of every stored picture")


def _fields(file: str, embedding: Embedding, steps: bool) -> dict[str, Any]:
    key = {"image_id": embedding.image_id, "path": file}
    if not steps:
        return key | {"pca": _numbers(embedding.components)}
    middle = embedding.pixels[len(embedding.pixels) // 2]
    return key | {
        "input[112, 32::64]": [_numbers(pixel) for pixel in middle[32::64]],
        f"features[:{N_SHOWN}]": _numbers(embedding.features[:N_SHOWN]),
        f"pca[:{N_SHOWN}]": _numbers(embedding.components[:N_SHOWN]),
    }


def _json(fields: Mapping[str, Any]) -> str:
    """An object with one line per field; `indent` would print one line per number."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _numbers(values: NDArray[np.float32]) -> Sequence[float]:
    """The shortest decimals that round-trip as float32; `float` would add meaningless digits."""
    return [float(str(value)) for value in values]
