"""`data_health`: duplicates, leaks between splits, contradictions; on the host."""

import time
from typing import Any

import dagster as dg
from pydantic import Field

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import ON_UPSTREAM_UPDATE
from fruits_assets.metadata import counts_table
from fruits_assets.resources import AssetStorage
from spark_src.evaluation import health_files
from spark_src.evaluation.duplicates import THRESHOLD
from spark_src.evaluation.health import Health
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import HealthStatistics

INPUTS = ("raw_images", "mobilenet_features", "pca_model")


class HealthConfig(dg.Config):
    """What near duplicates are."""

    threshold: float = Field(
        THRESHOLD, gt=0, le=1, description="Least cosine of the features of near duplicates."
    )


@dg.asset(
    deps=INPUTS,
    io_manager_key="delta",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("results", "host", "paths"),
    kinds={"numpy", "parquet"},
    code_version="1",
    automation_condition=ON_UPSTREAM_UPDATE,
)
def data_health(
    context: dg.AssetExecutionContext, config: HealthConfig, storage: AssetStorage
) -> dg.Output[Change]:
    """Pictures that are there twice, exactly or nearly, and where they contradict each other.

    A group of duplicates in two splits is a leak; under two labels or persons, a contradiction. New
    pictures are compared with all, old ones not again.
    """
    change, metadata = health_change(storage.tables, context.run_id, config.threshold)
    return dg.Output(change, data_version=dg.DataVersion(change.digest), metadata=metadata)


def health_change(
    tables: Tables, run_id: str, threshold: float | None = None
) -> tuple[Change, dict[str, Any]]:
    """The health of today's pictures, and what the UI shows of it.

    Without a threshold it is that of the version before.
    """
    started = time.monotonic()
    raw, features, pca = (tables.current(name) for name in INPUTS)
    write = tables.begin("data_health", run_id, [raw, features, pca])
    if threshold is None:
        threshold = write.before.typed(HealthStatistics).threshold if write.before else THRESHOLD
    digest = health_files.digest_of(features, pca, threshold)
    if health_files.is_current(write, digest):
        return Change.none(write), {}
    found = health_files.refresh(features, pca, write.before, threshold)
    statistics = health_files.save(found, write, digest, threshold)
    change = Change(write, statistics, images=found.compared, started=started)
    return change, _figures(found.health)


def _figures(health: Health) -> dict[str, Any]:
    """Counts alone: paths can be a person's."""
    counts = {
        "exact duplicates": health.exact_duplicates,
        "pictures with a near duplicate": health.near_duplicates,
        "groups of duplicates": health.n_groups,
    }
    shares = sorted(health.near_share.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {label} | {health.labels[label]:,} | {share:.1%} |" for label, share in shares]
    head = ["| label | images | with a near duplicate of that label |", "| --- | ---: | ---: |"]
    return counts | {
        "labels": dg.MetadataValue.md("\n".join([*head, *lines])),
        "crossings": counts_table(_crossings(health), "pairs"),
    }


def _crossings(health: Health) -> dict[str, int]:
    return {
        f"{'exact' if exact else 'near'}, in two {what}s": len(health.crossing(what, exact))
        for exact in (True, False)
        for what in ("split", "label", "person")
    }
