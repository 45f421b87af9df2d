"""Hundreds of histories of runs, erasures, vacuums and crashes."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.state_machine.machine import TablesMachine

TestTables = TablesMachine.TestCase
TestTables.settings = settings(
    max_examples=200,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
