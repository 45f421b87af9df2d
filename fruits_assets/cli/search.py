"""`fruits search`: find the most similar stored images, as a table and an HTML page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from spark_src.tables.delta import Tables

UNUSABLE = 1


def search(
    files: Annotated[list[str], typer.Argument(help="Pictures: paths or s3:// URIs.")],
    matches: Annotated[
        int, typer.Option("-k", "--matches", min=1, help="How many images to find per picture.")
    ] = 12,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with thumbnails to this file.")
    ] = None,
) -> None:
    """Print the stored images that are most similar to each picture.

    Photos under photos/ are included only if FRUITS_SHOW_PHOTOS=true.

    Exits with 1 when a file is not a usable picture; the others are still searched for.
    """
    from fruits_assets.embedding import read_picture
    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.search import Searcher
    from spark_src.images.rejection import Limits
    from spark_src.images.validate import clean_picture
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

    settings = settings_in_region(also=map(Location.parse, files))
    limits = Limits(max_side=settings.max_side)
    tables = Tables(settings.storage_location)
    searcher = Searcher.open(tables, settings.show_photos)
    queries: dict[str, tuple[bytes, int]] = {}
    found: dict[str, pd.DataFrame] = {}
    for file in files:
        try:
            content = read_picture(file)
            found[file] = searcher.search(content, matches, limits)
            clean = clean_picture(content, limits)
            queries[file] = clean.content, clean.orientation
        except InputError as error:
            Console(stderr=True).print(
                f"[red]error:[/red] {escape(f'{file}: {error}')}", soft_wrap=True
            )
    if found:
        _print(found)
    if html is not None:
        _write(html, queries, found, tables)
    elif found:
        name = shlex.quote(next(iter(found)))
        say_next(f"search {name} --html found.html", "the same as a page with pictures")
    raise typer.Exit(0 if len(found) == len(set(files)) else UNUSABLE)


def _print(found: dict[str, pd.DataFrame]) -> None:
    table = Table("picture", "path", "label", "distance")
    for file, rows in found.items():
        for rank, row in enumerate(rows.itertuples()):
            cells = [file if rank == 0 else "", row.path, row.label or ""]
            table.add_row(*map(escape, cells), f"{row.distance:.3f}")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _write(
    html: Path,
    queries: dict[str, tuple[bytes, int]],
    found: dict[str, pd.DataFrame],
    tables: Tables,
) -> None:
    from spark_src.evaluation.search_page import page
    from spark_src.tables.pictures import read_pictures

    paths = {path for rows in found.values() for path in rows["path"]}
    rows = read_pictures(tables.current("raw_images"), paths)
    pictures = {path: (row["content"], row["orientation"]) for path, row in rows.items()}
    try:
        html.write_text(page(queries, found, pictures), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{html} cannot be written ({error}); choose another file") from error
    Console(stderr=True).print(f"written: {html}", soft_wrap=True)
