"""Checks of the vectors of `mobilenet_features` and `pca_components`, by their statistics."""

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from spark_src.tables.delta import Snapshot
from spark_src.tables.registry import MOBILENET_FEATURES, PCA_COMPONENTS, STORED
from spark_src.tables.statistics import (
    ComponentsStatistics,
    FeaturesStatistics,
    VectorStatistics,
)
from spark_src.tables.vectors import FEATURES


@asset_check(MOBILENET_FEATURES, blocking=True)
def features_are_valid(context: CheckContext) -> dg.AssetCheckResult:
    """Every picture has 1,280 finite feature values.

    It also fails if all pictures have the same values, as with a broken model.
    """
    snapshot = context.tables.current(MOBILENET_FEATURES)
    return _vectors_result(snapshot, snapshot.typed(FeaturesStatistics).vectors, FEATURES)


@asset_check(PCA_COMPONENTS, blocking=True)
def components_are_valid(context: CheckContext) -> dg.AssetCheckResult:
    """Every picture has `n_components` (50) finite values.

    It also fails if all pictures have the same values.
    """
    snapshot = context.tables.current(PCA_COMPONENTS)
    known = snapshot.typed(ComponentsStatistics)
    return _vectors_result(snapshot, known.vectors, known.n_components)


def _vectors_result(
    snapshot: Snapshot, vectors: VectorStatistics, length: int
) -> dg.AssetCheckResult:
    rows = snapshot.rows
    faults = [
        (vectors.nulls, f"rows without a vector: {vectors.nulls:,}"),
        (vectors.not_finite, f"rows with NaN or infinity: {vectors.not_finite:,}"),
        (
            (vectors.shortest, vectors.longest) != (length, length),
            f"vectors have {vectors.shortest} to {vectors.longest} numbers, not {length}",
        ),
        (
            rows > 1 and vectors.smallest_norm == vectors.largest_norm,
            "every image has the same vector",
        ),
    ]
    found = [text for fault, text in faults if fault]
    column = STORED[snapshot.asset].vector_column
    return dg.AssetCheckResult(
        passed=not found,
        description="; ".join(found) or f"{rows:,} vectors of {length} finite numbers in {column}",
        metadata={
            "rows": rows,
            "shortest": vectors.shortest or 0,
            "longest": vectors.longest or 0,
            "not_finite": vectors.not_finite,
        },
    )


VECTOR_CHECKS = [features_are_valid, components_are_valid]
