"""The `fruits` command: features that Dagster's own commands do not offer."""

import os
import sys
import traceback as tracebacks
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from fruits_assets.cli import cluster, cluster_env
from fruits_assets.cli.check import check
from fruits_assets.cli.classify import classify
from fruits_assets.cli.compare import compare
from fruits_assets.cli.cost import cost
from fruits_assets.cli.doctor import doctor
from fruits_assets.cli.embed import embed
from fruits_assets.cli.erase import erase
from fruits_assets.cli.fetch_dataset import fetch_dataset
from fruits_assets.cli.history import history
from fruits_assets.cli.label_next import label_next
from fruits_assets.cli.path import path
from fruits_assets.cli.run import run
from fruits_assets.cli.search import search
from fruits_assets.environment import set_defaults
from spark_src.errors import FruitsError

CANNOT_RUN = 2


class OneSentence(TyperGroup):
    """Commands that report errors in one line; `--traceback` adds the traceback."""

    def invoke(self, ctx: Any) -> Any:
        found: Exception
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            used = getattr(error, "ctx", None)
            if used is None or "\n" in error.message:  # the help text, if no argument is given
                raise
            message = error.format_message()
            sentence = message if message.endswith((".", "?")) else f"{message}."
            found, text = error, f"{sentence} See `{used.command_path} --help`."
        except (typer.Abort, typer.Exit, BrokenPipeError, EOFError):
            raise  # handled by Typer
        except FruitsError as error:
            found, text = error, str(error)
        except Exception as error:  # noqa: BLE001 - the outermost edge
            found, text = (
                error,
                (
                    f"{type(error).__name__}: {error}. This error is unexpected: run the same "
                    "command as `fruits --traceback …` to see its traceback."
                ),
            )
        if ctx.params["traceback"]:
            tracebacks.print_exception(found)
        Console(stderr=True).print(
            f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(CANNOT_RUN)


app = typer.Typer(cls=OneSentence, no_args_is_help=True, pretty_exceptions_enable=False)


app.add_typer(cluster.app, name="cluster")
app.add_typer(cluster_env.app, name="cluster-env")
app.command(epilog="Example: fruits run --select 'pca_model+' -k 20")(run)
app.command()(check)
app.command(epilog="Example: fruits classify photo.jpg")(classify)
app.command(epilog="Example: fruits compare ./data-of-candidate")(compare)
app.command(epilog="Example: fruits cost --images 100000 --workers 4")(cost)
app.command(epilog="Example: fruits doctor ~/photos")(doctor)
app.command(epilog="Example: fruits embed photo.jpg other.png --format csv")(embed)
app.command(epilog="Example: fruits erase --subject 4711 --dry-run")(erase)
app.command(epilog="Example: fruits fetch-dataset --to ~/fruits-360")(fetch_dataset)
app.command(epilog="Example: fruits history raw_images")(history)
app.command(epilog="Example: fruits label-next -n 50 --csv next.csv")(label_next)
app.command(epilog="Example: fruits path csv_export")(path)
app.command(epilog="Example: fruits search photo.jpg -k 24 --html found.html")(search)


@app.callback(epilog="The variables FRUITS_… set the input and the storage: see README.md.")
def fruits(
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback", envvar="FRUITS_TRACEBACK", help="Show the traceback of errors."
        ),
    ] = False,
) -> None:
    """Materialize, check and read the assets, fetch data, erase personal data, manage the cluster.

    Start with `fruits run`, which materializes everything from the sample. `fruits doctor FOLDER`
    inspects your own pictures first. Dagster's `dagster asset materialize --select '*'` does the
    same as `fruits run`.
    """


def _open_standard_streams() -> None:
    """Replace standard streams that are closed, as under some schedulers, by /dev/null.

    Otherwise the next files that are opened would become this process's output.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def main() -> NoReturn:
    """Run a command; errors print one line and exit with 2."""
    _open_standard_streams()
    set_defaults()  # for an installed wheel; a checkout does it when Python starts
    sys.exit(app(prog_name="fruits"))  # also if started as a module
