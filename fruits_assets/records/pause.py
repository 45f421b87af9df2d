"""Pause sensors, schedules and automation during an erasure, and resume them afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from fruits_assets.dagster_internals import (
    InstigatorState,
    InstigatorStatus,
    automates_without_sensors,
    set_automation_paused,
)

CODE_LOCATION = "fruits"
AUTOMATION = "automation of assets"

_KEY = "fruits: switched off by an erasure"
"""Key in Dagster's key-value store, so that the next erasure can resume after a killed one."""


@contextmanager
def paused(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    """Inside the block, no sensor or schedule of this code location starts a run.

    Yields:
        The names paused by this call or by an erasure that was killed.
    """
    names = pause(instance)
    try:
        yield names
    finally:
        resume(instance)


def pause(instance: dg.DagsterInstance) -> list[str]:
    """Pause sensors, schedules and automation of this code location; return their names."""
    known = _read_states(instance)
    running = [state for state in _states(instance) if state.is_running]
    for state in running:
        known.setdefault(state.instigator_origin_id, (state.name, state.status.value))
    if automates_without_sensors(instance):
        known.setdefault(AUTOMATION, (AUTOMATION, ""))
    _store(instance, known)  # before anything is paused
    for state in running:
        instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    if AUTOMATION in known:
        set_automation_paused(instance, paused=True)
    return sorted(name for name, _ in known.values())


def resume(instance: dg.DagsterInstance) -> list[str]:
    """Resume everything that `pause` has paused; return the names."""
    known = _read_states(instance)
    for state in _states(instance):
        _, status = known.get(state.instigator_origin_id, ("", ""))
        if status and not state.is_running:
            instance.update_instigator_state(state.with_status(InstigatorStatus(status)))
    if AUTOMATION in known:
        set_automation_paused(instance, paused=False)
    _store(instance, {})
    return sorted(name for name, _ in known.values())


def _states(instance: dg.DagsterInstance) -> list[InstigatorState]:
    if instance.schedule_storage is None:  # a temporary instance
        return []
    return [
        state
        for state in instance.all_instigator_state()
        if state.repository_selector.location_name == CODE_LOCATION
    ]


def _read_states(instance: dg.DagsterInstance) -> dict[str, tuple[str, str]]:
    """Names and former states of paused instigators, by origin id."""
    kept = instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY)
    return {origin: (name, status) for origin, (name, status) in json.loads(kept or "{}").items()}


def _store(instance: dg.DagsterInstance, names: dict[str, tuple[str, str]]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_KEY: json.dumps(names)})
