"""The `fruits` command: what Dagster's own commands do not offer."""

import sys
import traceback as tracebacks
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from fruits_assets import cluster_commands, cluster_env_commands
from fruits_assets.cost import cost_command
from fruits_assets.dataset_command import fetch_dataset
from fruits_assets.embed_command import embed_command
from fruits_assets.erase_command import erase
from fruits_assets.history_command import history
from spark_src.contract import PREFIXES
from spark_src.errors import FruitsError
from spark_src.tables.delta import Tables

CANNOT_RUN = 2


class OneSentence(TyperGroup):
    """Commands whose errors are one line; `--traceback` shows where they come from."""

    def invoke(self, ctx: Any) -> Any:
        found: Exception
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Abort, typer.Exit, BrokenPipeError, EOFError):
            raise  # for Typer to deal with
        except FruitsError as error:
            found, text = error, str(error)
        except Exception as error:  # noqa: BLE001 - the outermost edge
            found, text = (
                error,
                (
                    f"{type(error).__name__}: {error}. This error was not foreseen: "
                    "`fruits --traceback` with the same command shows where it comes from."
                ),
            )
        if ctx.params["traceback"]:
            tracebacks.print_exception(found)
        Console(stderr=True).print(
            f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(CANNOT_RUN)


app = typer.Typer(cls=OneSentence, no_args_is_help=True, pretty_exceptions_enable=False)


app.add_typer(cluster_commands.app, name="cluster")
app.add_typer(cluster_env_commands.app, name="cluster-env")
app.command("cost", epilog="Example: fruits cost --images 100000 --workers 4")(cost_command)
app.command("erase", epilog="Example: fruits erase --subject 4711 --dry-run")(erase)
app.command("fetch-dataset", epilog="Example: fruits fetch-dataset --to ~/fruits-360")(
    fetch_dataset
)
app.command("history", epilog="Example: fruits history raw_images")(history)
app.command("embed", epilog="Example: fruits embed photo.jpg other.png --format csv")(embed_command)


@app.callback(epilog="The variables FRUITS_… say where input and storage are: see README.md.")
def fruits(
    traceback: Annotated[
        bool,
        typer.Option("--traceback", envvar="FRUITS_TRACEBACK", help="Show where errors come from."),
    ] = False,
) -> None:
    """Find the tables, check them, fetch pictures, erase a person's data, run the cluster.

    The assets themselves are made by `dagster asset materialize --select '*'`.
    """


@app.command(epilog="Example: fruits path csv_export")
def path(
    asset: Annotated[str, typer.Argument(help=f"One of: {', '.join(PREFIXES)}.")],
) -> None:
    """Print where an asset's current version is: the folder of a Delta table, or a file.

    docs/reading.md shows how pandas, Polars, DuckDB, Spark and Athena open it.
    """
    from fruits_assets.settings import settings_in_region

    snapshot = Tables(settings_in_region().storage_location).current(asset)
    typer.echo(snapshot.data_location.uri)


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
    """Run a command; an error is one line and exit code 2."""
    sys.exit(app())
