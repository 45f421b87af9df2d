"""What the host sends with a step, as JSON: the settings, and Dagster's reference of the step.

Nothing is unpickled, on neither side: `deserialize_value` makes Dagster's own records only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from spark_src.errors import ClusterError


@dataclass(frozen=True)
class Order:
    """A step to be run on the cluster."""

    settings: Mapping[str, str]
    """Variables by name."""
    step: str
    """The reference, as `serialize_value` writes it."""

    @classmethod
    def for_step(cls, settings: Mapping[str, str], step: dg.StepRunRef) -> Order:
        """The order for a step of a run."""
        return cls(dict(settings), dg.serialize_value(step._asdict()))

    @classmethod
    def parse(cls, content: bytes) -> Order:
        """Read what `dump` wrote.

        Raises:
            ClusterError: it is no order.
        """
        try:
            fields = json.loads(content)
            return cls(dict(fields["settings"]), str(fields["step"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"The step's order is damaged ({type(error).__name__}). Materialize again."
            ) from error

    def dump(self) -> bytes:
        """The order as JSON."""
        return json.dumps({"settings": self.settings, "step": self.step}).encode()

    def step_reference(self) -> dg.StepRunRef:
        """The reference of the step, to be called once the settings have been applied.

        Raises:
            ClusterError: it is no reference of this Dagster.
        """
        fields: Any = dg.deserialize_value(self.step)
        try:
            return dg.StepRunRef(**fields)
        except TypeError as error:
            raise ClusterError(
                "The step's order does not fit the Dagster on the cluster: pack the environment "
                "again (`make up`), and stop the cluster so that a new one unpacks it."
            ) from error


def dump_events(events: list[dg.EventLogEntry]) -> bytes:
    """Events on their way from the cluster, as JSON."""
    return dg.serialize_value(events).encode()


def parse_events(content: bytes) -> list[Any]:
    """What `dump_events` wrote; other programs on the cluster may write there, too.

    Raises:
        ClusterError: it is no list of Dagster's events.
    """
    try:  # anything may be wrong with a text that others on the cluster may write
        events: Any = dg.deserialize_value(content.decode())
    except Exception as error:
        raise ClusterError(f"The step's events cannot be read: {error}.") from error
    if not isinstance(events, list) or not all(
        isinstance(event, dg.EventLogEntry) for event in events
    ):
        raise ClusterError("The step's events cannot be read: they are no list of events.")
    return events
