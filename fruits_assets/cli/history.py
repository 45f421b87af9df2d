"""`fruits history`: an asset's versions, from the commits in its Delta log."""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from spark_src.contract import PREFIXES
from spark_src.tables.delta import Tables, is_table
from spark_src.tables.log import CommitRecord
from spark_src.tables.registry import STORED
from spark_src.text import counted


def history(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
    limit: Annotated[int, typer.Option(min=1, help="How many versions, newest first.")] = 20,
) -> None:
    """Print an asset's versions: time, run, inputs, rows and changes.

    A run that changes nothing creates no version.
    """
    from fruits_assets.settings import settings_in_region

    tables = Tables(settings_in_region().storage_location)
    tables.current(asset)  # raises with instructions if there is no version
    commits = tables.history(asset)
    table = Table("version", "committed (UTC)", "run", "inputs", "rows", "change", title=asset)
    before = [record for _, _, record in commits[1:]]
    for (version, at, record), former in zip_longest(commits[:limit], before[:limit]):
        inputs = ", ".join(f"{name} {number}" for name, number in record.inputs.items())
        change = _change(asset, record, former)
        cells = (record.run_id[:8], inputs, _rows(asset, record), change)
        table.add_row(str(version), f"{at:%Y-%m-%d %H:%M:%S}", *map(escape, cells))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    if len(commits) > limit:
        console.print(f"{counted(len(commits) - limit, 'earlier version')}: --limit {len(commits)}")
    say_next(f"path {asset}", "the location of the current version")


def _rows(asset: str, record: CommitRecord) -> str:
    return f"{record.statistics.get('rows', 0):,}" if STORED[asset].has_rows else ""


def _change(asset: str, record: CommitRecord, before: CommitRecord | None) -> str:
    """A description of the commit's change, with its note."""
    changed = _rows_changed(record) if is_table(asset) else _file_changed(record, before)
    return f"{changed}\n{record.note}" if record.note else changed


def _file_changed(record: CommitRecord, before: CommitRecord | None) -> str:
    same = before is not None and before.statistics["digest"] == record.statistics["digest"]
    return f"{'kept' if same else 'new'} {record.statistics['files'][0]}"


def _rows_changed(record: CommitRecord) -> str:
    parts = [
        f"{counted(rows, 'row')} in {counted(files, 'file')} {verb}"
        for rows, files, verb in (
            (record.rows_added, record.files_added, "added"),
            (record.rows_removed, record.files_removed, "removed"),
        )
        if files
    ]
    net = record.rows_added - record.rows_removed
    return f"{'+' * (net > 0)}{counted(net, 'row')} ({', '.join(parts)})" if parts else "no rows"
