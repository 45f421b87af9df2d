"""`fruits check`: run all asset checks on the stored assets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._folders import require_home
from fruits_assets.cli._next import say_next

if TYPE_CHECKING:
    from fruits_assets.checks.run_checks import Outcome


def check() -> None:
    """Run all asset checks on the stored assets; nothing is materialized.

    Exits with 0 when all pass, with 1 when one of severity ERROR fails, with 2 when checks
    cannot run.
    """
    require_home()
    _require_stored()
    from fruits_assets.checks.run_checks import run_checks
    from fruits_assets.dagster_internals import cli_instance
    from fruits_assets.definitions import build_defs

    with cli_instance("fruits check") as instance:
        outcomes = run_checks(build_defs(), instance)
    table = Table("asset", "check", "outcome", "details", title="Asset checks")
    for outcome in outcomes:
        table.add_row(outcome.asset, outcome.check, outcome.verdict, escape(outcome.text))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    say_next(*_next(outcomes))
    raise typer.Exit(max(outcome.exit_code for outcome in outcomes))


def _require_stored() -> None:
    """Refuse a local storage without any asset: no check could run.

    A bucket is read only by the checks, after its region was inspected.

    Raises:
        NothingStoredError: no asset was ever materialized.
    """
    from fruits_assets.settings import load_settings
    from spark_src.contract import PREFIXES
    from spark_src.errors import NothingStoredError

    storage = load_settings().storage_location
    folders = [Path(storage.path) / prefix for prefix in PREFIXES.values()]
    if storage.scheme == "file" and not any(folder.is_dir() for folder in folders):
        raise NothingStoredError(
            f"Nothing is stored under {storage}, so no check can run. Materialize the assets with "
            "`uv run fruits run`, or set FRUITS_STORAGE."
        )


def _next(outcomes: list[Outcome]) -> tuple[str, str]:
    failing = [outcome for outcome in outcomes if outcome.verdict == "FAILS"]
    if failing:
        return f"history {failing[0].asset}", "its runs and inputs"
    if any(outcome.verdict == "cannot run" for outcome in outcomes):
        return "run", "materializes the missing assets"
    return "path csv_export", "where the results are"
