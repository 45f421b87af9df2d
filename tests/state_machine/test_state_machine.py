"""Hundreds of repeatable histories of runs, erasures, vacuums and crashes."""

from __future__ import annotations

from hypothesis.stateful import run_state_machine_as_test

from tests.state_machine.machine import TablesMachine, hypothesis_settings

EXAMPLES, STEPS = 150, 16
"""Takes about 40 s on two cores. For thousands: `uv run python -m tests.state_machine`."""


def test_invariants_hold_for_any_order_of_runs_and_crashes() -> None:
    TablesMachine.counts.clear()
    run_state_machine_as_test(
        TablesMachine, settings=hypothesis_settings(EXAMPLES, STEPS, repeatable=True)
    )
    counts = TablesMachine.counts
    assert counts["examples"] >= EXAMPLES
    kinds = ("commits", "crashes", "commits refused", "erasures", "vacuums", "audits that failed")
    assert all(counts[kind] for kind in kinds), counts
