"""Switching off what starts runs by itself while a person's data is erased, and on again."""

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
"""In Dagster's key-value store: an erasure that is killed is followed by one that knows."""


@contextmanager
def paused(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    """Nothing of this code location starts by itself meanwhile.

    Yields:
        The names of what was switched off, by this call or by an erasure that was killed.
    """
    names = pause(instance)
    try:
        yield names
    finally:
        resume(instance)


def pause(instance: dg.DagsterInstance) -> list[str]:
    """Switch off sensors, schedules and automation of this code location; return their names."""
    known = _stored(instance)
    running = [state for state in _states(instance) if state.is_running]
    for state in running:
        known.setdefault(state.instigator_origin_id, (state.name, state.status.value))
    if automates_without_sensors(instance):
        known.setdefault(AUTOMATION, (AUTOMATION, ""))
    _store(instance, known)  # before anything is off
    for state in running:
        instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    if AUTOMATION in known:
        set_automation_paused(instance, paused=True)
    return sorted(name for name, _ in known.values())


def resume(instance: dg.DagsterInstance) -> list[str]:
    """Switch on what `pause` has switched off; return the names."""
    known = _stored(instance)
    for state in _states(instance):
        _, status = known.get(state.instigator_origin_id, ("", ""))
        if status and not state.is_running:
            instance.update_instigator_state(state.with_status(InstigatorStatus(status)))
    if AUTOMATION in known:
        set_automation_paused(instance, paused=False)
    _store(instance, {})
    return sorted(name for name, _ in known.values())


def _states(instance: dg.DagsterInstance) -> list[InstigatorState]:
    if instance.schedule_storage is None:  # of an instance that ends with its process
        return []
    return [
        state
        for state in instance.all_instigator_state()
        if state.repository_selector.location_name == CODE_LOCATION
    ]


def _stored(instance: dg.DagsterInstance) -> dict[str, tuple[str, str]]:
    """Name and former status, by origin, of what is switched off."""
    kept = instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY)
    return {origin: (name, status) for origin, (name, status) in json.loads(kept or "{}").items()}


def _store(instance: dg.DagsterInstance, names: dict[str, tuple[str, str]]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_KEY: json.dumps(names)})
