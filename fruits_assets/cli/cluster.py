"""`fruits cluster …`: show the EMR cluster, start it, stop it. Calls of EMR: `emr/cluster.py`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.emr import cluster, cluster_notebook, code_package
from fruits_assets.settings import load_settings, settings_in_region
from spark_src.contract import FOLDERS

app = typer.Typer(
    help="Look at the EMR cluster that FRUITS_CLUSTER names, start it, stop it.",
    no_args_is_help=True,
)


@app.command()
def status() -> None:
    """Show the living cluster, or the last one there was."""
    settings = load_settings()
    found = cluster.status(settings.cluster, settings.region)
    if found is None:
        _say(f"no cluster {settings.cluster} in {settings.region}, nor was there one lately")
        return
    instances = ", ".join(f"{count} x {kind}" for kind, count in sorted(found.instances.items()))
    table = Table("what", "value", title=f"Cluster {escape(settings.cluster)}")
    rows = {
        "id": found.cluster.id,
        "state": found.cluster.state,
        "since": f"{found.cluster.since:%Y-%m-%d %H:%M} UTC",
        "why": found.cluster.reason or "-",
        "release": found.release,
        "instances": instances or "none",
        "step concurrency": str(found.step_concurrency),
        "running steps": ", ".join(found.running_steps) or "none",
    }
    for what, value in rows.items():
        table.add_row(what, escape(value))
    _console().print(table)


@app.command()
def start() -> None:
    """Start the cluster as `make up` wrote it down, unless it lives, and wait until it is ready.

    About eight minutes; runs on EMR do it by themselves.
    """
    settings = load_settings()
    found = cluster.ensure_ready(
        settings.cluster, settings.region, _say, storage=settings.storage_location
    )
    _say(f"cluster {settings.cluster} is ready: {found}")


@app.command()
def stop(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Terminate the cluster; what runs on it is lost, what is stored stays.

    Asks first, unless --yes is given.
    """
    settings = load_settings()
    found = cluster.status(settings.cluster, settings.region)
    if found is None or found.cluster.state not in cluster.LIVING:
        _say(f"no cluster {settings.cluster} is running in {settings.region}")
        return
    steps = len(found.running_steps)
    if not yes:
        typer.confirm(f"Terminate {found.cluster.id} with {steps} running steps?", abort=True)
    stopped = cluster.stop(settings.cluster, settings.region)
    if stopped is not None:
        _say(f"cluster {settings.cluster} ({stopped.id}) is being terminated")


@app.command()
def notebook(
    output: Annotated[Path, typer.Option(help="The .ipynb file to write.")] = Path(
        "explore-on-cluster.ipynb"
    ),
) -> None:
    """Write a copy of notebooks/explore.ipynb for the cluster's JupyterHub, to be uploaded there.

    It knows these settings, and this version of the code, which is put beside the storage.
    """
    settings = settings_in_region()
    # Not in staging, which is emptied after days: the copy is of use for longer.
    folder = settings.storage_location / FOLDERS["environments"]
    package = code_package.build()
    code = code_package.push(folder, settings.region, package)
    notebook = cluster_notebook.for_cluster(code, package.sha256, settings.variables)
    output.write_text(notebook, encoding="utf-8")
    _say(f"{output} is written: upload it in JupyterHub and run it with the kernel PySpark")


def _say(text: str) -> None:
    _console().print(escape(text), highlight=False, soft_wrap=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
