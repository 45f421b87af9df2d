"""A step as the host sends it to the cluster, as JSON: settings and Dagster's step reference.

Neither side unpickles anything: `deserialize_value` only creates Dagster's own records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from spark_src.errors import ClusterError


@dataclass(frozen=True)
class StepDefinition:
    """A step to run on the cluster."""

    settings: Mapping[str, str]
    """Environment variables by name."""
    step: str
    """The step reference, serialised by `serialize_value`."""

    @classmethod
    def for_step(cls, settings: Mapping[str, str], step: dg.StepRunRef) -> StepDefinition:
        """The definition of a step of a run."""
        return cls(dict(settings), dg.serialize_value(step._asdict()))

    @classmethod
    def parse(cls, content: bytes) -> StepDefinition:
        """Parse the output of `dump`.

        Raises:
            ClusterError: it is not a valid step definition.
        """
        try:
            fields = json.loads(content)
            return cls(dict(fields["settings"]), str(fields["step"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"The step definition is damaged ({type(error).__name__}). Materialize again."
            ) from error

    def dump(self) -> bytes:
        """The definition as JSON."""
        return json.dumps({"settings": self.settings, "step": self.step}).encode()

    def step_reference(self) -> dg.StepRunRef:
        """The step reference. Apply the settings before calling this.

        Raises:
            ClusterError: the reference does not fit this Dagster version.
        """
        fields: Any = dg.deserialize_value(self.step)
        try:
            return dg.StepRunRef(**fields)
        except TypeError as error:
            raise ClusterError(
                "The step definition does not fit the Dagster version on the cluster: pack the "
                "environment again (`make up`), and stop the cluster so that a new one unpacks it."
            ) from error


def dump_events(events: list[dg.EventLogEntry]) -> bytes:
    """Serialise events to send them from the cluster to the host."""
    return dg.serialize_value(events).encode()


def parse_events(content: bytes) -> list[Any]:
    """Parse the output of `dump_events`, which other programs on the cluster could overwrite.

    Raises:
        ClusterError: it is not a list of Dagster events.
    """
    try:  # the content is not trusted, so any exception is possible
        events: Any = dg.deserialize_value(content.decode())
    except Exception as error:
        raise ClusterError(f"The step's events cannot be read: {error}.") from error
    if not isinstance(events, list) or not all(
        isinstance(event, dg.EventLogEntry) for event in events
    ):
        raise ClusterError("The step's events cannot be read: they are not a list of events.")
    return events
