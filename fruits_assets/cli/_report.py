"""What a run prints: a line for each asset, its progress meanwhile, and a closing table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from fruits_assets.failures import sentence_of
from spark_src.spark.progress import progress_line

PLAIN_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""


@dataclass(frozen=True)
class Made:
    """An asset of this run."""

    rows: int | None
    unchanged: bool
    seconds: float | None
    uri: str


@dataclass(frozen=True)
class CheckResult:
    """A check of this run."""

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
    """Of each step, what it makes."""
    made: dict[str, Made] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Steps (or nothing, where the run failed before them) and their sentences."""
    canceled: bool = False
    _step: str = ""
    _started: float = field(default_factory=time.monotonic)
    _live: Progress | None = None
    _task: TaskID | None = None
    _printed: float = 0.0

    @contextmanager
    def live(self) -> Iterator[None]:
        """Inside the block progress is shown: moving in a terminal, as lines elsewhere."""
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
        """Show how far the step is; called from another thread several times a second."""
        if self._live is not None and self._task is not None:
            text = _progress(done, images, seconds)
            self._live.update(self._task, total=images, completed=done, description=text)
            return
        now = time.monotonic()
        if self._live is None and now - self._printed >= PLAIN_SECONDS and done < images:
            if self._printed:
                self._print(f"{self._step:<20} {_progress(done, images, seconds)}")
            self._printed = now

    def take(self, event: dg.DagsterEvent) -> None:
        """Take note of an event, and print what a reader wants to know of it."""
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._start(event.step_key or "")
        elif event.is_step_materialization:
            self._take_materialization(event)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._take_check(event.asset_check_evaluation_data)
        elif event.is_step_failure:
            self._take_failure(event)
        elif event.is_run_failure and not self.failures:
            self.failures.append(("", sentence_of(event.job_failure_data.error)))
        elif event.event_type == dg.DagsterEventType.RUN_CANCELED:
            self.canceled = True

    def _start(self, step: str) -> None:
        self._step, self._started, self._printed = step, time.monotonic(), 0.0
        if self._live is None or step not in self.assets:
            return
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task("starting", total=None, step=step)

    def _take_materialization(self, event: dg.DagsterEvent) -> None:
        found = event.step_materialization_data.materialization
        name = found.asset_key.to_user_string()
        seconds, self._started = time.monotonic() - self._started, time.monotonic()
        made = _made(found.metadata, seconds)
        self.made[name] = made
        rows = "" if made.rows is None else f"{made.rows:>9,} rows"
        state = "unchanged" if made.unchanged else f"{seconds:.1f} s"
        self._print(f"{name:<20} {rows:<15} {state:>10}")

    def _take_check(self, found: Any) -> None:
        is_error = found.severity == dg.AssetCheckSeverity.ERROR
        asset = found.asset_key.to_user_string()
        text = found.description or ""
        self.checks.append(CheckResult(asset, found.check_name, found.passed, is_error, text))

    def _take_failure(self, event: dg.DagsterEvent) -> None:
        data = event.step_failure_data
        user = data.user_failure_data
        text = (user.description if user else None) or sentence_of(data.error)
        self.failures.append((event.step_key or "", text))
        self._print(f"{event.step_key:<20} failed")

    def _print(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def table(self) -> None:
        """Print what was made and which checks do not hold."""
        table = Table("asset", title="What was made")
        table.add_column("rows", justify="right")
        table.add_column("seconds", justify="right")
        table.add_column("checks")
        for name, made in self.made.items():
            seconds = "unchanged" if made.unchanged else f"{made.seconds:.1f}"
            rows = "" if made.rows is None else f"{made.rows:,}"
            table.add_row(name, rows, seconds, self._verdict(name))
        self.console.print(table)
        for found in self.checks:
            if not found.passed:
                verdict = "FAILS" if found.is_error else "warns"
                self._print(f"{verdict} {found.asset}: {found.check}: {found.text}")

    def _verdict(self, asset: str) -> str:
        mine = [found for found in self.checks if found.asset == asset]
        bad = [found.check for found in mine if not found.passed]
        return (
            f"{len(bad)} of {len(mine)}: see below"
            if bad
            else f"{len(mine)} hold{'s' * (len(mine) == 1)}" * bool(mine)
        )


def _progress(done: int, images: int, seconds: float) -> str:
    if not done:
        return f"waiting for Spark: {images:,} images to do, {seconds:.0f} s so far"
    return progress_line(done, images, seconds)


def _made(metadata: Mapping[str, Any], seconds: float) -> Made:
    values = {name: value.value for name, value in metadata.items()}
    return Made(
        rows=values.get("dagster/row_count"),
        unchanged=bool(values.get("unchanged")),
        seconds=seconds,
        uri=str(values.get("dagster/uri", "")),
    )
