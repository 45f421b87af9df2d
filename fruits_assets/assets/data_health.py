"""`data_health`: duplicates, leaks between splits and label conflicts. Runs on the host."""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.metadata import Row, bounded_table, counts_table
from fruits_assets.resources import AssetStorage
from spark_src.evaluation import health_files
from spark_src.evaluation.duplicates import THRESHOLD
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.registry import (
    DATA_HEALTH,
    MOBILENET_FEATURES,
    PCA_COMPONENTS,
    PCA_MODEL,
    RAW_IMAGES,
)
from spark_src.tables.statistics import HealthStatistics

if TYPE_CHECKING:
    from spark_src.evaluation.health import Health

INPUTS = (RAW_IMAGES, MOBILENET_FEATURES, PCA_MODEL)


class HealthConfig(AssetConfig):
    """When two pictures count as near duplicates."""

    threshold: float = Field(
        THRESHOLD, gt=0, le=1, description="Minimum cosine similarity of near duplicates' features."
    )


# Depends on pca_components, not pca_model, so that `pca_model+` (one layer) runs PCA only.
@catalog.DATA_HEALTH.asset(deps=[RAW_IMAGES, MOBILENET_FEATURES, PCA_COMPONENTS])
def data_health(
    context: dg.AssetExecutionContext, config: HealthConfig, storage: AssetStorage
) -> dg.MaterializeResult[Change]:
    """Exact and near duplicates, and conflicts between them.

    Duplicates in two splits are a leak; duplicates under two labels or people are a conflict. Only
    new pictures are compared with all others.
    """
    change = health_change(storage.tables, context.run.run_id, config.threshold)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def health_change(tables: Tables, run_id: str, threshold: float | None = None) -> Change:
    """The health of the current pictures.

    Without a threshold, the previous version's is used.
    """
    started = time.monotonic()
    raw, features, pca = (tables.current(name) for name in INPUTS)
    write = tables.begin(DATA_HEALTH, run_id, [raw, features, pca])
    if threshold is None:
        threshold = write.before.typed(HealthStatistics).threshold if write.before else THRESHOLD
    digest = health_files.digest_of(features, pca, threshold)
    if health_files.is_current(write, digest):
        return Change.none(write)
    found = health_files.refresh(features, pca, write.before, threshold)
    statistics = health_files.save(found, write, digest, threshold)
    details = _metadata(found.health)
    return Change(write, statistics, images=found.compared, started=started, details=details)


def _metadata(health: "Health") -> dict[str, Any]:
    """Counts only, because paths may identify a person."""
    counts = {
        "exact duplicates": health.exact_duplicates,
        "pictures with a near duplicate": health.near_duplicates,
        "groups of duplicates": health.n_groups,
    }
    shares = sorted(health.near_share.items(), key=lambda item: (-item[1], item[0]))
    columns = {"label": "string", "images": "int", "with a near duplicate": "string"}
    rows: list[Row] = [
        dict(zip(columns, (label, health.labels[label], f"{share:.1%}"), strict=True))
        for label, share in shares
    ]
    return counts | {
        "near duplicates by label": bounded_table(rows, columns),
        "duplicates in two splits, labels or people": counts_table(
            _crossings(health), "duplicates", "pairs"
        ),
    }


def _crossings(health: "Health") -> dict[str, int]:
    return {
        f"{'exact' if exact else 'near'}, in two {plural}": len(health.crossing(what, exact))
        for exact in (True, False)
        for what, plural in (("split", "splits"), ("label", "labels"), ("person", "people"))
    }
