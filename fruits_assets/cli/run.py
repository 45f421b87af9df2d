"""`fruits run`: like `dagster asset materialize`, in this process and with concise output.

Selection and run config: `_selection.py`. Output: `_report.py`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fruits_assets.cli._folders import require_folders
from fruits_assets.cli._output import LOG, native_output_to

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from fruits_assets.cli._report import RunReport
    from fruits_assets.settings import Settings

FAILED = 1
CANCELLED = 130
"""The exit code that shells use for a command ended by Ctrl-C."""

MODULE = "fruits_assets.definitions"
LOCATION = "fruits"
"""The code location's name in pyproject.toml, under which the UI lists the run."""


def run(
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Assets; add + for one more layer, * for all upstream or downstream. Default: all."
        ),
    ] = None,
    components: Annotated[
        int | None,
        typer.Option("-k", "--components", min=1, help="How many components PCA keeps."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A config value of an asset: asset.field=value."),
    ] = None,
) -> None:
    """Materialize the assets: ingest pictures, compute features, reduce them, write the CSV, check.

    Exits with 0 when all assets were materialized, 1 when one failed, 2 when the run was refused
    before it began, 130 after Ctrl-C. Failing checks are listed; only `fruits check` exits with 1
    for them.
    """
    from fruits_assets.cli import _selection
    from fruits_assets.settings import settings_in_region

    known = settings_in_region()
    require_folders(known.storage_location)
    values = [*(settings or ())]
    if components is not None:
        values.append(f"pca_model.n_components={components}")
    _selection.require_names(select or [], values)
    early = _spark_starting(known, bool(values))
    with native_output_to(known.scratch / LOG) as console, early:
        report = _execute(known, select or ["*"], values, console)
    raise typer.Exit(_conclude(report, known, console))


@contextmanager
def _spark_starting(settings: Settings, configured: bool) -> Iterator[None]:
    """Start Java while Dagster is imported, if this run certainly needs Spark."""
    if not _needs_spark(settings, configured):
        yield
        return
    starting = threading.Thread(target=_start_spark, args=[settings.scratch], daemon=True)
    starting.start()
    try:
        yield
    finally:
        starting.join()  # a JVM would keep running if Python ended while it starts


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
        return  # the first asset that needs Spark tries again and reports the error


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
    from fruits_assets.failures import request_cancellation
    from spark_src.spark.progress import message_listener, progress_listener

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
        with (
            report.live(),
            progress_listener(report.progress),
            message_listener(report.message),
            _cancelling(instance, created.run_id),
        ):
            for event in run_events(job, created, instance):
                report.handle_event(event)
                if report.cancelled:
                    request_cancellation(instance, created.run_id)
        final = instance.get_run_by_id(created.run_id)
        report.cancelled = final is not None and final.status == dg.DagsterRunStatus.CANCELED
    return report


@contextmanager
def _cancelling(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Mark the run as cancelled, not failed, on Ctrl-C or SIGTERM inside the block."""
    from fruits_assets.failures import request_cancellation

    def cancel(*_: object) -> None:
        request_cancellation(instance, run_id)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(report: RunReport, settings: Settings, console: Console) -> int:
    """Print the summary; return the exit code."""
    from fruits_assets.cli._next import example_picture
    from fruits_assets.failures import UNEXPECTED

    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    if report.cancelled:
        say("cancelled: finished work is kept, and the next run continues from there.")
        say("next    uv run fruits run")
        return CANCELLED
    if report.failures:
        for step, sentence in report.failures[:1]:
            if UNEXPECTED in sentence:
                say(f"output of Java and C++: {settings.scratch / LOG}")
            named = not step or sentence.startswith(f"{step}: ")
            say(f"error: {'' if named else f'{step}: '}{sentence}")
        return FAILED
    (settings.scratch / LOG).unlink(missing_ok=True)  # it may contain names of pictures
    report.table()
    csv = report.materialized.get("csv_export")
    if csv is not None:
        say(f"CSV     {csv.uri.removeprefix('file://')}")
    say(f"tables  {settings.storage} (`uv run fruits path pca_components`; docs/reading.md)")
    say("next    uv run dagster dev  # the graph, http://localhost:3000")
    say(f"        uv run fruits embed {example_picture()}  # the numbers of one picture")
    return 0
