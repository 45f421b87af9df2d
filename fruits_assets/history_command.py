"""The command `fruits history`: the versions of an asset, by the log of its table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spark_src.contract import PREFIXES
from spark_src.errors import NothingStoredError
from spark_src.tables.delta import CommitRecord, Tables


def history(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
    most: Annotated[int, typer.Option(min=1, help="How many versions, the latest first.")] = 20,
) -> None:
    """Print an asset's versions: when, by which run, how many rows, what changed."""
    from fruits_assets.settings import settings_in_region

    tables = Tables(settings_in_region().storage_location)
    commits = tables.history(asset)[:most]
    if not commits:
        raise NothingStoredError(
            f"{asset} has no version under {tables.prefix(asset)}. Make one with: "
            f"uv run dagster asset materialize --select '*{asset}'"
        )
    table = Table("version", "committed (UTC)", "run", "rows", "change", title=asset)
    for version, at, record in commits:
        rows = f"{record.statistics.get('rows', 0):,}"
        when = f"{at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(version), when, record.run_id[:8], rows, escape(_change(record)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _change(record: CommitRecord) -> str:
    """What a commit did, in words."""
    if record.note:
        return record.note
    parts = [
        f"{count:,} rows in {files:,} {verb}"
        for count, files, verb in (
            (record.rows_added, record.files_added, "new files"),
            (record.rows_removed, record.files_removed, "files removed"),
        )
        if files
    ]
    return ", ".join(parts) or "statistics alone"
