"""`fruits check`: all asset checks on what is stored."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def check() -> None:
    """Run all asset checks on what is stored; nothing is materialized.

    Exits with 0 when all pass, with 1 when one of severity ERROR fails, with 2 when they
    cannot be run.
    """
    from fruits_assets.checks.outcomes import run_checks
    from fruits_assets.definitions import build_defs

    outcomes = run_checks(build_defs())
    table = Table("asset", "check", "outcome", "what was found", title="Asset checks")
    for outcome in outcomes:
        table.add_row(outcome.asset, outcome.check, outcome.verdict, escape(outcome.text))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(max(outcome.exit_code for outcome in outcomes))
