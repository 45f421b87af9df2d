"""`fruits cluster …`: show, start and stop the EMR cluster. The EMR calls: `emr/cluster.py`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fruits_assets.cli._next import say_next
from fruits_assets.emr import cluster, cluster_notebook, code_package
from fruits_assets.settings import load_settings, settings_in_region
from spark_src.contract import FOLDERS

app = typer.Typer(
    help="Show, start and stop the EMR cluster named by FRUITS_CLUSTER.",
    no_args_is_help=True,
)


@app.command()
def status() -> None:
    """Show the active cluster, or else the last one."""
    settings = load_settings()
    found = cluster.status(settings.cluster, settings.region)
    if found is None:
        _say(f"no cluster {settings.cluster} in {settings.region}, and none in the last two months")
        say_next("cluster start", "starts the one that `make up` configured")
        return
    instances = ", ".join(f"{count} x {kind}" for kind, count in sorted(found.instances.items()))
    table = Table("property", "value", title=f"Cluster {escape(settings.cluster)}")
    rows = {
        "id": found.cluster.id,
        "state": found.cluster.state,
        "since": f"{found.cluster.since:%Y-%m-%d %H:%M} UTC",
        "reason": found.cluster.reason or "-",
        "release": found.release,
        "instances": instances or "none",
        "step concurrency": str(found.step_concurrency),
        "running steps": ", ".join(found.running_steps) or "none",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    _console().print(table)
    if found.cluster.state in cluster.LIVING:
        say_next("cluster stop", "terminates it; stored data is kept")
    else:
        say_next("cluster start", "starts a new one")


@app.command()
def start() -> None:
    """Start the cluster that `make up` configured, unless it is active, and wait until it is ready.

    Takes about eight minutes. Runs on EMR start it automatically.
    """
    settings = settings_in_region()
    found = cluster.ensure_ready(
        settings.cluster, settings.region, _say, storage=settings.storage_location
    )
    _say(f"cluster {settings.cluster} is ready: {found}")
    say_next("run", "materializes the assets on it if FRUITS_DEPLOYMENT=emr")


@app.command()
def stop(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Terminate the cluster. Running steps are lost; stored data is kept.

    Asks for confirmation unless --yes is given.
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
    say_next("cluster status", "shows when it has ended")


@app.command()
def notebook(
    output: Annotated[Path, typer.Option(help="The .ipynb file to write.")] = Path(
        "explore-on-cluster.ipynb"
    ),
) -> None:
    """Write a copy of notebooks/explore.ipynb to upload to the cluster's JupyterHub.

    It contains these settings and refers to this version of the code, which is uploaded to the
    storage.
    """
    settings = settings_in_region()
    # Not in staging, which expires after a few days: the notebook is used for longer.
    folder = settings.storage_location / FOLDERS["environments"]
    package = code_package.build()
    code = code_package.push(folder, settings.region, package)
    notebook = cluster_notebook.for_cluster(code, package.sha256, settings.variables)
    output.write_text(notebook, encoding="utf-8")
    _say(f"wrote {output}: upload it to JupyterHub and run it with the PySpark kernel")


def _say(text: str) -> None:
    _console().print(escape(text), highlight=False, soft_wrap=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
