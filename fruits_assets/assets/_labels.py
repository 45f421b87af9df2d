"""What every asset says of itself besides its description: its group, its owner, its tags."""

from typing import Literal

GROUP = "fruits"

OWNERS = ["team:data"]


def tags(
    stage: Literal["ingest", "model", "features", "pca", "results"],
    runs_on: Literal["spark", "host"],
    personal_data: Literal["photos", "paths", "derived", "none"],
) -> dict[str, str]:
    """An asset's tags, by which Dagster's UI filters.

    Args:
        stage: of the pipeline.
        runs_on: `spark`: on the cluster where there is one; `host`: beside Dagster, always.
        personal_data: what an erasure has to look for where photos are a person's.
    """
    return {"stage": stage, "runs_on": runs_on, "personal_data": personal_data}
