"""The last lines of a step's output contain the reason of a failure."""

from __future__ import annotations

from fruits_assets.emr.step_logs import LAST_LINES, last_lines

REASON = "26/11/27 07:58:50 ERROR YarnScheduler: Max number of executor failures (3) reached"


def test_the_reason_is_kept_although_long_stack_traces_follow() -> None:
    trace = [f"\tat org.apache.spark.scheduler.DAGScheduler.stop({n})" for n in range(LAST_LINES)]
    lines = last_lines("\n".join([REASON, "java.io.IOException: closed", *trace, "\t... 9 more"]))
    assert lines.splitlines() == [REASON, "java.io.IOException: closed"]


def test_only_the_last_lines_are_kept() -> None:
    lines = last_lines("\n".join(f"line {number}" for number in range(LAST_LINES + 5)))
    assert lines.splitlines()[0] == "line 5" and len(lines.splitlines()) == LAST_LINES


def test_informational_lines_are_left_out() -> None:
    assert last_lines(f"26/11/27 07:58:49 INFO Client: x\n{REASON}\n") == REASON
