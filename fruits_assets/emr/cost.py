"""What cluster time costs, from hours and a table of prices. No bill is read and AWS not asked."""

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
"""The asset whose version says how long each stage took."""


@dataclass(frozen=True)
class Price:
    """USD an instance-hour: EC2's on-demand price and EMR's on top. `cores`: its vCPUs."""

    ec2: float
    emr: float
    cores: int

    @property
    def usd(self) -> float:
        """Both together, USD an instance-hour."""
        return self.ec2 + self.emr


PRICES = {
    "m5.xlarge": Price(ec2=0.214, emr=0.048, cores=4),
    "m5.2xlarge": Price(ec2=0.428, emr=0.096, cores=8),
}
"""On demand, eu-west-1, as of 2026-11. m5.xlarge is the figure of this project's design;
m5.2xlarge is twice that, as AWS prices m5 by size. A type is added from AWS's price list."""


@dataclass(frozen=True)
class Estimate:
    """Instance-hours and USD, without EBS, S3 and transfer. No USD where a type has no price."""

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
        """The USD for a table, or which type has no price."""
        if self.usd is None:
            return f"no price for {', '.join(self.unpriced)}"
        return f"{self.usd:,.2f}"


def price(instance_type: str) -> float | None:
    """USD an instance-hour, EMR included; None where the type is not in the table."""
    found = PRICES.get(instance_type)
    return found.usd if found else None


def from_run(seconds: float, instances: Mapping[str, int], images: int) -> Estimate:
    """What so many instances of each type cost for a time; EBS is not counted.

    Args:
        seconds: how long they ran.
        instances: how many of each type, the primary node included.
        images: how many images went through.
    """
    hours = seconds / 3600
    used = {kind: count for kind, count in instances.items() if count}
    unpriced = tuple(sorted(kind for kind in used if price(kind) is None))
    usd = sum((price(kind) or 0.0) * count for kind, count in used.items()) * hours
    return Estimate(hours * sum(used.values()), None if unpriced else usd, images, unpriced)


def metadata(estimate: Estimate) -> dict[str, Any]:
    """Plain values for Dagster's UI: numbers, or a text where a type has no price."""
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
    """The parts of a whole run's cost by name, the `total` last.

    Args:
        n: how many images.
        core_seconds: what one image takes in each stage, in seconds of one core.
        cores: those that work, without the primary node's; every stage is taken to use them all.
        instances: how many of each type, the primary node included.
        start_minutes: from the request for a cluster until it takes steps.
        idle_minutes: after the last step until the cluster ends itself.
    """
    seconds = {"start-up": start_minutes * 60}
    seconds |= {stage: n * each / cores for stage, each in core_seconds.items()}
    seconds["idle until auto-termination"] = idle_minutes * 60
    seconds["total"] = sum(seconds.values())
    return {part: from_run(time, instances, n) for part, time in seconds.items()}


@dataclass(frozen=True)
class Measured:
    """What a stage took in the materialization of the most images."""

    seconds: float
    images: int
    cores: int

    @property
    def core_seconds(self) -> float:
        """Seconds of one core for one image."""
        return self.seconds * self.cores / self.images


def read_measurements(root: Location) -> dict[str, Measured]:
    """What is known of each stage from its run of the most images; few make it look slow."""
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
