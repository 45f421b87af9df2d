"""`fruits run`: make assets in this process, as `dagster asset materialize` does, and say it short.

What is selected and configured: `_selection.py`; what is printed: `_report.py`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from fruits_assets.cli._report import RunReport
    from fruits_assets.settings import Settings

FAILED = 1
CANCELED = 130
"""As a shell reports a command that Ctrl-C ended."""

LOG = "last_run/stderr.log"
"""In the scratch folder: standard error of Java and C++."""

MODULE = "fruits_assets.definitions"
LOCATION = "fruits"
"""The code location's name in pyproject.toml, by which the UI finds the run."""


def run(
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of assets, + for those next to them, * for all beyond; all by default."
        ),
    ] = None,
    components: Annotated[
        int | None, typer.Option("-k", "--components", help="How many components PCA keeps.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of an asset: asset.field=value."),
    ] = None,
) -> None:
    """Make the assets: read the pictures, compute features, reduce them, write the CSV, check all.

    Exits with 0 when everything was made, 1 when an asset failed, 2 when the run was refused
    before it began, 130 after Ctrl-C. A failing check is in the table; `fruits check` fails by it.
    """
    from fruits_assets.cli import _selection
    from fruits_assets.settings import settings_in_region

    known = settings_in_region()
    _require_places(known)
    values = [*(settings or ())]
    if components is not None:
        values.append(f"pca_model.n_components={components}")
    _selection.require_names(select or [], values)
    early = _spark_starting(known, bool(values))
    with _native_output_kept(known.scratch / LOG) as console, early:
        report = _execute(known, select or ["*"], values, console)
    raise typer.Exit(_conclude(report, known, console))


def _require_places(settings: Settings) -> None:
    """Refuse folders that cannot be written to, before anything is loaded.

    Raises:
        SettingsError: which one, and what to set.
    """
    from fruits_assets.environment import DEFAULTS
    from spark_src.errors import SettingsError

    home = os.environ["DAGSTER_HOME"]
    if not os.path.isabs(home):
        raise SettingsError(f"DAGSTER_HOME={home} is relative: give the whole path of a folder.")
    if not os.path.isdir(home) and home != DEFAULTS["DAGSTER_HOME"]:
        raise SettingsError(
            f"DAGSTER_HOME={home} does not exist: make that folder (`mkdir -p {home}`), or unset "
            "DAGSTER_HOME to use the project's own."
        )
    _require_writable(Path(home), "DAGSTER_HOME", "Dagster keeps its records of runs")
    if settings.storage_location.scheme == "file":
        _require_writable(Path(settings.storage_location.path), "FRUITS_STORAGE", "the tables lie")


def _require_writable(folder: Path, variable: str, purpose: str) -> None:
    from spark_src.errors import SettingsError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"{folder}, where {purpose}, cannot be written to ({error.strerror}): set {variable} "
            "to a folder that you may write to."
        ) from error


@contextmanager
def _spark_starting(settings: Settings, configured: bool) -> Iterator[None]:
    """Let Java start while Dagster is imported, where this run is sure to need Spark."""
    if not _needs_spark(settings, configured):
        yield
        return
    starting = threading.Thread(target=_start_spark, args=[settings.scratch], daemon=True)
    starting.start()
    try:
        yield
    finally:
        starting.join()  # a JVM whose Python ends while it starts would live on


def _needs_spark(settings: Settings, configured: bool) -> bool:
    from fruits_assets.settings import Deployment
    from spark_src.contract import PREFIXES

    storage = settings.storage_location
    if settings.deployment is not Deployment.LOCAL or storage.scheme != "file":
        return False
    if settings.input_location.scheme != "file":
        return False
    return configured or not (Path(storage.path) / PREFIXES["pca_components"]).is_dir()


def _start_spark(scratch: Path) -> None:
    from spark_src.errors import SettingsError
    from spark_src.spark.scratch import make_scratch
    from spark_src.spark.session import local_config, start_local

    try:
        start_local(local_config(), make_scratch(scratch))
    except (OSError, RuntimeError, SettingsError):
        return  # the asset that needs it starts it again, and says why that fails


@contextmanager
def _native_output_kept(log: Path) -> Iterator[Console]:
    """What Java and C++ write to standard error goes to a file."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.stderr.flush()
    kept, file = os.dup(2), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.dup2(file, 2)
        yield _console(sys.stdout)
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else 120)


def _execute(
    settings: Settings, selection: list[str], values: list[str], console: Console
) -> RunReport:
    import dagster as dg

    from fruits_assets.cli import _selection
    from fruits_assets.cli._report import RunReport
    from fruits_assets.dagster_internals import (
        cli_instance,
        create_run,
        job_of_all_assets,
        run_events,
    )
    from fruits_assets.definitions import defs
    from spark_src.spark.progress import listening

    graph = defs.resolve_asset_graph()
    keys = _selection.select(graph, selection)
    assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
    config = _selection.run_config(assets, values)
    steps = {asset.op.name: tuple(key.to_user_string() for key in asset.keys) for asset in assets}
    report = RunReport(console, steps)
    logger = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with cli_instance("fruits run") as instance:
        job = job_of_all_assets(MODULE, defs.resolve_implicit_global_asset_job_def().name)
        created = create_run(instance, job, keys, config | logger, LOCATION)
        console.print(f"pictures  {settings.input}", highlight=False, soft_wrap=True, markup=False)
        console.print(
            f"storage   {settings.storage}", highlight=False, soft_wrap=True, markup=False
        )
        console.print(f"run       {created.run_id}", highlight=False, soft_wrap=True, markup=False)
        with report.live(), listening(report.progress), _canceling(instance, created.run_id):
            for event in run_events(job, created, instance):
                report.take(event)
        final = instance.get_run_by_id(created.run_id)
        report.canceled = final is not None and final.status == dg.DagsterRunStatus.CANCELED
    return report


@contextmanager
def _canceling(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Inside the block Ctrl-C and SIGTERM end the run as canceled, not as failed."""

    def cancel(*_: object) -> None:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceling(run)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(report: RunReport, settings: Settings, console: Console) -> int:
    """Print the end of the output; give the exit code."""
    from fruits_assets.failures import UNFORESEEN

    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    if report.canceled:
        say("canceled: what was finished stays, and the next run goes on from there.")
        say("next: uv run fruits run")
        return CANCELED
    if report.failures:
        for step, sentence in report.failures[:1]:
            if UNFORESEEN in sentence:
                say(f"what Java and C++ wrote: {settings.scratch / LOG}")
            say(f"error: {step + ': ' if step else ''}{sentence}")
        return FAILED
    (settings.scratch / LOG).unlink(missing_ok=True)  # it may name pictures
    report.table()
    csv = report.made.get("csv_export")
    if csv is not None:
        say(f"CSV     {csv.uri.removeprefix('file://')}")
    say(f"tables  {settings.storage} (`uv run fruits path pca_components`; docs/reading.md)")
    say("next    uv run dagster dev                      # the graph, http://localhost:3000")
    say("        uv run fruits embed YOUR_PHOTO.jpg      # the numbers of one picture")
    return 0
