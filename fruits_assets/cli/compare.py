"""`fruits compare`: compare another model's tables with the current ones on held-out images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from spark_src.errors import StorageError
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from spark_src.evaluation.comparison import Comparison

WORSE = 1


def compare(
    candidate: Annotated[str, typer.Argument(help="Storage with the assets of the other model.")],
) -> None:
    """Compare another model with the current one: accuracy on held-out images, with intervals.

    Exits with 1 when the candidate is significantly worse.
    """
    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.comparison import compare as compare_models
    from spark_src.evaluation.quality import read
    from spark_src.tables.delta import Tables

    other = Location.parse(candidate)
    roots = (settings_in_region(also=[other]).storage_location, other)
    names = ("mobilenet_features", "pca_components")
    ours, theirs = (
        read(Tables(root).current(names[0]), Tables(root).current(names[1])) for root in roots
    )
    shared = ours.images.reset_index().merge(theirs.images.reset_index(), on=["path", "label"])
    if shared.empty:
        raise StorageError(
            f"{other} and {roots[0]} have no image in common. Materialize both from the same input."
        )
    images = shared[["path", "label"]]
    found = compare_models(
        images, ours.components[shared["index_x"]], theirs.components[shared["index_y"]]
    )
    _print(found)
    raise typer.Exit(WORSE if any(answer.is_worse for answer in found) else 0)


def _print(found: list[Comparison]) -> None:
    columns = ["predicted", "held out together", "images", "groups"]
    table = Table(*columns, "current", "candidate", "difference (95 % interval)", "candidate is")
    for answer in found:
        table.add_row(
            answer.question,
            answer.held_out,
            f"{answer.images:,}",
            f"{answer.groups:,}",
            f"{answer.current:.1%}",
            f"{answer.candidate:.1%}",
            f"{answer.low:+.1%} to {answer.high:+.1%}",
            answer.verdict,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
