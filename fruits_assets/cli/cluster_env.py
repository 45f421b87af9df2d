"""`fruits cluster-env`: pack and upload the cluster's environment, using `packed_env.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fruits_assets.emr import packed_env
from fruits_assets.settings import settings_in_region
from spark_src.contract import FOLDERS

app = typer.Typer(
    help="Pack and upload the Python libraries that a cluster needs.", no_args_is_help=True
)

_Python = Annotated[str, typer.Option(help="Interpreter, or Python version, to build with.")]


@app.command()
def build(
    output: Annotated[
        Path | None, typer.Option(help="The .tar.gz to write; a file in .cache/ by default.")
    ] = None,
    python: _Python = packed_env.PYTHON_VERSION,
) -> None:
    """Pack the locked libraries for the cluster, if the lock file has changed.

    Prints the archive's path.
    """
    with _progress() as (report, _):
        archive = packed_env.build(output, python, report)
        report(f"done: {archive.stat().st_size / 1e6:.0f} MB")
    typer.echo(archive)


@app.command()
def push(python: _Python = packed_env.PYTHON_VERSION) -> None:
    """Upload the packed libraries to the storage, packing them first if necessary.

    Prints the archive's URI.
    """
    settings = settings_in_region()
    # Not in staging, which expires after a few days: clusters that start later need it, too.
    folder = settings.storage_location / FOLDERS["environments"]
    with _progress() as (report, sent):
        location = packed_env.push(folder, settings.region, python, report, sent)
    typer.echo(location.uri)


@contextmanager
def _progress() -> Iterator[tuple[packed_env.Report, packed_env.Sent]]:
    """Print a line per step and a bar for the current one, on standard error."""
    console = Console(stderr=True)
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def report(activity: str) -> None:
            seconds = time.monotonic() - started
            console.print(f"{seconds:5.1f} s  {activity}", highlight=False, soft_wrap=True)
            progress.update(task, description=activity.split(" to s3://", maxsplit=1)[0])

        def sent(more: int, total: int) -> None:
            progress.update(task, total=total, advance=more)

        yield report, sent
