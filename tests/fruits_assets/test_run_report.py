"""The output of `fruits run`: progress if it is not a terminal, and failed checks."""

from __future__ import annotations

import io
from types import SimpleNamespace

import dagster as dg
import pytest
from rich.console import Console

from fruits_assets.cli import _report
from fruits_assets.cli._report import RunReport


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a step of five minutes, whose first picture is done after 21 seconds."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(_report, "time", clock)
    output = io.StringIO()
    report = RunReport(Console(file=output, width=120), {})
    report._on_step_start("mobilenet_features")
    for second in range(300):
        clock.now = float(second)
        report.progress(max(0, second - 20), 1_000, clock.now)
    return output.getvalue().splitlines()


def test_waiting_for_spark_is_printed_once(printed: list[str]) -> None:
    assert [line for line in printed if "waiting for Spark" in line] == printed[:1]
    assert "1,000 images to process" in printed[0]


def test_the_lines_of_a_long_step_become_less_frequent(printed: list[str]) -> None:
    done = [int(line.split()[1]) for line in printed[1:]]
    assert done == [10, 30, 70, 150]


def test_a_line_that_would_repeat_the_last_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(_report, "time", clock)
    output = io.StringIO()
    report = RunReport(Console(file=output, width=120), {})
    report._on_step_start("ingest")
    for second in range(300):
        clock.now = float(second)
        report.progress(112, 240, clock.now)
    assert output.getvalue().count("112 of 240") == 1


@dg.asset
def apples() -> None:
    """An asset with a failing check."""


@dg.asset_check(asset=apples, blocking=True)
def are_ripe() -> dg.AssetCheckResult:
    """A check that fails."""
    return dg.AssetCheckResult(passed=False, description="2 of 9 apples are green")


def test_a_failed_blocking_check_is_reported_with_its_reason() -> None:
    graph = dg.Definitions(assets=[apples], asset_checks=[are_ripe])
    result = graph.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)
    report = RunReport(Console(file=io.StringIO()), {})
    for event in result.all_events:
        report.handle_event(event)
    ((step, sentence),) = report.failures
    assert step == "apples_are_ripe"
    assert sentence.startswith("are_ripe failed: 2 of 9 apples are green. No asset downstream")
