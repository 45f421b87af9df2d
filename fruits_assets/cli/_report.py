"""Console output of a run: one line per asset, live progress, and a summary table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from fruits_assets.failures import sentence_of
from spark_src.spark.progress import progress_line
from spark_src.text import counted

INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
"""The errors with which a step ends after Ctrl-C."""

BLOCKED = "DagsterAssetCheckFailedError"
"""The error with which a step ends after a blocking check failed."""

PLAIN_SECONDS = 10.0
"""Seconds before the first progress line when the output is not a terminal. The interval doubles
with each line, so that the log of a long run stays short."""


@dataclass(frozen=True)
class MaterializedAsset:
    """An asset that this run materialized."""

    rows: int | None
    unchanged: bool
    seconds: float | None
    uri: str


@dataclass(frozen=True)
class CheckResult:
    """The result of a check in this run."""

    step: str
    asset: str
    check: str
    passed: bool
    is_error: bool
    text: str


@dataclass
class RunReport:
    """Follows the events of one run."""

    console: Console
    assets: dict[str, tuple[str, ...]]
    """The assets that each step materializes."""
    materialized: dict[str, MaterializedAsset] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Failed steps (empty if the run failed before its first step) and their error messages."""
    cancelled: bool = False
    _step: str = ""
    _started: float = field(default_factory=time.monotonic)
    _live: Progress | None = None
    _task: TaskID | None = None
    _printed: float = 0.0
    _interval: float = PLAIN_SECONDS
    _shown: int | None = None
    """The images done in this step's last line: no line repeats it."""

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show progress inside the block: as a bar in a terminal, otherwise as lines."""
        if not self.console.is_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            self._live = progress
            yield
        self._live = self._task = None

    def progress(self, done: int, images: int, seconds: float) -> None:
        """Show the step's progress. Called from another thread several times per second."""
        if self._live is not None and self._task is not None:
            text = _progress(done, images, seconds)
            self._live.update(self._task, total=images, completed=done, description=text)
            return
        now = time.monotonic()
        if self._live is None and now - self._printed >= self._interval and done < images:
            if done != self._shown:
                self._print(f"{self._step:<20} {_progress(done, images, seconds)}")
            if done:
                self._interval *= 2
            self._printed, self._shown = now, done

    def message(self, text: str) -> None:
        """Print a message of the running step."""
        self._print(text)

    def handle_event(self, event: dg.DagsterEvent) -> None:
        """Record an event and print it if it matters to the user."""
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._on_step_start(event.step_key or "")
        elif event.is_step_materialization:
            self._on_materialization(event)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._on_check(event.step_key or "", event.asset_check_evaluation_data)
        elif event.is_step_failure:
            self._on_failure(event)
        elif event.is_run_failure and not self.failures:
            self.failures.append(("", sentence_of(event.job_failure_data.error)))
        elif event.event_type == dg.DagsterEventType.RUN_CANCELED:
            self.cancelled = True

    def _on_step_start(self, step: str) -> None:
        self._step, self._started = step, time.monotonic()
        self._printed, self._interval = self._started, PLAIN_SECONDS
        self._shown = None
        if self._live is None or step not in self.assets:
            return
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task("starting", total=None, step=step)

    def _on_materialization(self, event: dg.DagsterEvent) -> None:
        found = event.step_materialization_data.materialization
        name = found.asset_key.to_user_string()
        seconds, self._started = time.monotonic() - self._started, time.monotonic()
        asset = _materialized_asset(found.metadata, seconds)
        self.materialized[name] = asset
        rows = "" if asset.rows is None else f"{counted(asset.rows, 'row'):>14}"
        state = "unchanged" if asset.unchanged else f"{seconds:.1f} s"
        self._print(f"{name:<20} {rows:<15} {state:>10}")

    def _on_check(self, step: str, found: Any) -> None:
        is_error = found.severity == dg.AssetCheckSeverity.ERROR
        asset = found.asset_key.to_user_string()
        text = found.description or ""
        self.checks.append(CheckResult(step, asset, found.check_name, found.passed, is_error, text))

    def _on_failure(self, event: dg.DagsterEvent) -> None:
        data = event.step_failure_data
        if data.error is not None and data.error.cls_name in INTERRUPTIONS:
            self.cancelled = True
            return
        user = data.user_failure_data
        text = (user.description if user else None) or sentence_of(data.error)
        if data.error is not None and data.error.cls_name == BLOCKED:
            text = self._blocked(event.step_key or "")
        self.failures.append((event.step_key or "", text))
        self._print(f"{event.step_key:<20} failed")

    def _blocked(self, step: str) -> str:
        """Why blocking checks failed, which Dagster's error message leaves out."""
        failed = [
            f"{found.check} failed: {found.text}."
            for found in self.checks
            if found.step == step and found.is_error and not found.passed
        ]
        return (
            f"{' '.join(failed)} No asset downstream was materialized. `uv run fruits check` "
            "shows the results of all checks."
        )

    def _print(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def table(self) -> None:
        """Print the materialized assets and the failing checks."""
        table = Table("asset", box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("rows", justify="right")
        table.add_column("seconds", justify="right")
        table.add_column("checks")
        for name, asset in self.materialized.items():
            seconds = "unchanged" if asset.unchanged else f"{asset.seconds:.1f}"
            rows = "" if asset.rows is None else f"{asset.rows:,}"
            table.add_row(name, rows, seconds, self._verdict(name))
        self.console.print(table)
        for found in self.checks:
            if not found.passed:
                verdict = "FAILS" if found.is_error else "warns"
                self._print(f"{verdict} {found.asset}: {found.check}: {found.text}")

    def _verdict(self, asset: str) -> str:
        results = [found for found in self.checks if found.asset == asset]
        passed = sum(found.passed for found in results)
        if passed < len(results):
            return f"{passed} of {len(results)} passed: see below"
        return f"{passed} passed" if results else ""


def _progress(done: int, images: int, seconds: float) -> str:
    if not done:
        return f"waiting for Spark: {counted(images, 'image')} to process, {seconds:.0f} s elapsed"
    return progress_line(done, images, seconds)


def _materialized_asset(metadata: Mapping[str, Any], seconds: float) -> MaterializedAsset:
    values = {name: value.value for name, value in metadata.items()}
    return MaterializedAsset(
        rows=values.get("dagster/row_count"),
        unchanged=bool(values.get("unchanged")),
        seconds=seconds,
        uri=str(values.get("dagster/uri", "")),
    )
