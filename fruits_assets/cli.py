"""The `fruits` command: what Dagster's own commands do not offer."""

import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets import cluster_commands, cluster_env_commands
from fruits_assets.cost import cost_command
from fruits_assets.dataset_command import fetch_dataset
from fruits_assets.embed_command import embed_command
from fruits_assets.erase_command import erase
from spark_src.contract import PREFIXES
from spark_src.errors import FruitsError
from spark_src.storage import Storage

CANNOT_RUN = 2

app = typer.Typer(
    help="Fruits features: find the tables, check them, fetch pictures, run the cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.add_typer(cluster_commands.app, name="cluster", help="The EMR cluster, by its name.")
app.add_typer(cluster_env_commands.app, name="cluster-env", help="The cluster's environment.")
app.command("cost")(cost_command)
app.command("erase")(erase)
app.command("fetch-dataset")(fetch_dataset)
app.command("embed")(embed_command)


@app.callback()
def fruits() -> None:
    """Fruits features: find the tables, check them, fetch pictures, run the cluster."""


@app.command()
def path(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
) -> None:
    """Print the URI of an asset's current version."""
    from fruits_assets.metadata import data_location
    from fruits_assets.settings import settings_in_region

    version = Storage(settings_in_region().storage_location).current(asset)
    typer.echo(data_location(version).uri)


@app.command()
def check() -> None:
    """Run all asset checks on what is stored; nothing is materialized.

    Exits with 0 when all hold, with 1 when one of severity ERROR fails, with 2 when they
    cannot be run.
    """
    from fruits_assets.check_runs import run_checks

    outcomes = run_checks()
    table = Table("asset", "check", "outcome", "what was found", title="Asset checks")
    for outcome in outcomes:
        table.add_row(outcome.asset, outcome.check, outcome.verdict, escape(outcome.text))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(max(outcome.exit_code for outcome in outcomes))


def main() -> NoReturn:
    """Run a command; an error that is the user's to mend is one line and exit code 2."""
    try:
        app()
    except FruitsError as error:
        text = f"[red]error:[/red] {escape(str(error))}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)
        sys.exit(CANNOT_RUN)
    sys.exit(0)
