"""Estimated cost of cluster time, from hours and a table of prices. AWS is not queried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.registry import STORED

PER_IMAGES = 100_000
PRICED_REGION = "eu-west-1"

STAGES = {stored.cost_stage: stored.name for stored in STORED.values() if stored.cost_stage}
"""The asset whose statistics have the duration of each stage."""


@dataclass(frozen=True)
class Price:
    """USD per instance-hour: EC2's on-demand price and EMR's surcharge. `cores`: vCPUs."""

    ec2: float
    emr: float
    cores: int

    @property
    def usd(self) -> float:
        """The total, in USD per instance-hour."""
        return self.ec2 + self.emr


PRICES = {
    "m5.xlarge": Price(ec2=0.214, emr=0.048, cores=4),
    "m5.2xlarge": Price(ec2=0.428, emr=0.096, cores=8),
}
"""On-demand prices in eu-west-1 as of 2026-11. m5.2xlarge costs twice as much as m5.xlarge,
because m5 is priced by size. Add other types from AWS's price list."""


@dataclass(frozen=True)
class Estimate:
    """Instance-hours and USD, without EBS, S3 and data transfer. No USD if a price is unknown."""

    instance_hours: float
    usd: float | None
    images: int
    unpriced: tuple[str, ...] = ()

    @property
    def usd_per_100_000(self) -> float | None:
        """USD per 100,000 images; None without a price or without images."""
        if self.usd is None or not self.images:
            return None
        return self.usd * PER_IMAGES / self.images

    @property
    def usd_text(self) -> str:
        """The USD as text, or the types without a price."""
        if self.usd is None:
            return f"no price for {', '.join(self.unpriced)}"
        return f"{self.usd:,.2f}"


def price(instance_type: str) -> float | None:
    """USD per instance-hour including EMR; None if the type is not in the table."""
    found = PRICES.get(instance_type)
    return found.usd if found else None


def from_run(seconds: float, instances: Mapping[str, int], images: int) -> Estimate:
    """The cost of instances for a period, without EBS.

    Args:
        seconds: how long they ran.
        instances: number of instances by type, including the primary node.
        images: number of processed images.
    """
    hours = seconds / 3600
    used = {kind: count for kind, count in instances.items() if count}
    unpriced = tuple(sorted(kind for kind in used if price(kind) is None))
    usd = sum((price(kind) or 0.0) * count for kind, count in used.items()) * hours
    return Estimate(hours * sum(used.values()), None if unpriced else usd, images, unpriced)


def metadata(estimate: Estimate) -> dict[str, Any]:
    """Metadata values for Dagster's UI: numbers, or a text if a price is unknown."""
    per = estimate.usd_per_100_000
    missing = estimate.usd_text if estimate.usd is None else "no images"
    return {
        "instance hours": round(estimate.instance_hours, 3),
        "estimated USD": missing if estimate.usd is None else round(estimate.usd, 4),
        "estimated USD per 100,000 images": missing if per is None else round(per, 4),
    }


def from_images(  # noqa: PLR0913 - the assumptions, by name
    n: int,
    core_seconds: Mapping[str, float],
    cores: int,
    instances: Mapping[str, int],
    *,
    start_minutes: float = 8,
    idle_minutes: float = 60,
) -> dict[str, Estimate]:
    """The cost of a full run by part, with the `total` last.

    Args:
        n: number of images.
        core_seconds: core-seconds per image of each stage.
        cores: cores of the workers, without the primary node; assumed to be fully used.
        instances: number of instances by type, including the primary node.
        start_minutes: time until the cluster accepts steps.
        idle_minutes: time after the last step until the cluster terminates itself.
    """
    seconds = {"start-up": start_minutes * 60}
    seconds |= {stage: n * each / cores for stage, each in core_seconds.items()}
    seconds["idle until auto-termination"] = idle_minutes * 60
    seconds["total"] = sum(seconds.values())
    return {part: from_run(time, instances, n) for part, time in seconds.items()}


@dataclass(frozen=True)
class Measured:
    """The duration of a stage in its largest materialization."""

    seconds: float
    images: int
    cores: int

    @property
    def core_seconds(self) -> float:
        """Core-seconds per image."""
        return self.seconds * self.cores / self.images


def read_measurements(root: Location) -> dict[str, Measured]:
    """Measurements of each stage from its largest run; small runs would overestimate."""
    tables = Tables(root)
    found = {stage: tables.find(asset) for stage, asset in STAGES.items()}
    measures = {
        stage: snapshot.statistics.measured for stage, snapshot in found.items() if snapshot
    }
    return {
        stage: Measured(measure.seconds, measure.images, measure.cores)
        for stage, measure in measures.items()
        if measure.seconds and measure.images and measure.cores
    }
