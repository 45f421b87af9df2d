"""`fruits cost`: an estimate for a run on EMR. The arithmetic is in `emr/cost.py`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fruits_assets.cli._next import say_next
from fruits_assets.emr.cost import (
    PRICED_REGION,
    PRICES,
    STAGES,
    from_images,
    read_measurements,
)
from fruits_assets.settings import settings_in_region
from spark_src.errors import FruitsError


def cost(  # noqa: PLR0913, PLR0917 - one for each option
    images: Annotated[int, typer.Option(min=1, help="How many images the run processes.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Worker nodes, not counting the primary node.")
    ] = 2,
    instance_type: Annotated[
        str, typer.Option(help="EC2 instance type of all nodes.")
    ] = "m5.xlarge",
    cores: Annotated[
        int | None, typer.Option(min=1, help="vCPUs per node; not needed for types with a price.")
    ] = None,
    start_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes until the cluster accepts steps.")
    ] = 8,
    idle_minutes: Annotated[
        float, typer.Option(min=0, help="Idle minutes until the cluster terminates itself.")
    ] = 60,
) -> None:
    """Estimate the cost of a full run on EMR from the largest measured materialization.

    In USD at on-demand prices, with start-up and idle time, without EBS, S3 and data transfer.
    """
    settings = settings_in_region()
    stages = read_measurements(settings.storage_location)
    features = stages.get("features")
    if features is None:
        raise FruitsError(
            f"{settings.storage_location} has no measured throughput. Materialize once, here or on "
            "EMR, with: uv run fruits run"
        )
    per_node = cores or (PRICES[instance_type].cores if instance_type in PRICES else None)
    if per_node is None:
        raise FruitsError(f"The number of cores of {instance_type} is unknown: pass --cores.")
    parts = from_images(
        images,
        {stage: found.core_seconds for stage, found in stages.items()},
        per_node * workers,
        {instance_type: workers + 1},
        start_minutes=start_minutes,
        idle_minutes=idle_minutes,
    )
    caption = (
        f"Features: {1 / features.core_seconds:,.1f} images per second and core, measured on "
        f"{features.images:,} images and {features.cores} cores. On demand, {PRICED_REGION}, "
        "without EBS, S3 and data transfer."
    )
    if settings.region != PRICED_REGION:
        caption += f" Prices in {settings.region} differ."
    title = f"{images:,} images on {workers} + 1 {instance_type}"
    table = Table("part", "minutes", "instance-hours", "USD", title=title)
    for part, estimate in parts.items():
        if part == "total":
            for stage in [stage for stage in STAGES if stage not in stages]:
                table.add_row(stage, "not measured", "", "")
        minutes = estimate.instance_hours * 60 / (workers + 1)
        hours = f"{estimate.instance_hours:,.2f}"
        table.add_row(part, f"{minutes:,.1f}", hours, estimate.usd_text)
    per = parts["total"].usd_per_100_000
    table.add_row("total per 100,000 images", "", "", "" if per is None else f"{per:,.2f}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(caption, highlight=False, soft_wrap=True)
    say_next("cluster --help", "the commands for the cluster")
