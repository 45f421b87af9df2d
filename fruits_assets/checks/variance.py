"""The checks of the PCA model: orthonormal components, and the variance that they keep."""

import dagster as dg
import numpy as np

from fruits_assets.checks.grouping import CheckContext, asset_check
from spark_src.pca.fit import load_current
from spark_src.pca.model import few_images_note
from spark_src.tables.registry import PCA_COMPONENTS, PCA_MODEL
from spark_src.tables.statistics import PcaModelStatistics
from spark_src.text import counted

TOLERANCE = 1e-6
"""Maximum deviation from orthonormal components, and of the variance ratios' sum from 1."""


@asset_check(PCA_MODEL)
def axes_are_orthonormal(context: CheckContext) -> dg.AssetCheckResult:
    """The stored model is a PCA: orthonormal components, and variance ratios in descending order.

    A damaged or incorrectly fitted model fails.
    """
    model = load_current(context.tables.current(PCA_MODEL))
    products = model.components @ model.components.T
    deviation = float(np.abs(products - np.eye(model.n_components)).max())
    ratios = model.explained_variance_ratio
    is_sorted = bool((np.diff(ratios) <= TOLERANCE).all())
    is_whole = bool(abs(ratios.sum() - 1) <= TOLERANCE)
    text = f"{counted(model.n_components, 'component')}, orthonormal within {deviation:.0e}"
    faults = [
        (
            deviation <= TOLERANCE,
            f"the components are not orthonormal: they deviate {deviation:.0e}",
        ),
        (is_sorted, "the explained variance ratios are not in descending order"),
        (is_whole, f"the explained variance ratios sum to {ratios.sum():.6f}, not 1"),
    ]
    found = "; ".join(fault for holds, fault in faults if not holds)
    remedy = "uv run fruits run --select 'pca_model*' --set pca_model.refit=true"
    return dg.AssetCheckResult(
        passed=not found,
        description=f"{found}. Fit it again: {remedy}" if found else text,
        metadata={"greatest deviation from orthonormal": deviation},
    )


@asset_check(PCA_COMPONENTS)
def variance_is_explained(context: CheckContext) -> dg.AssetCheckResult:
    """The components keep enough of the variance of the 1,280 features.

    The threshold is `min_explained_variance` (0.9), measured on the current images. Below it, the
    check reports how many components would be needed.
    """
    snapshot = context.tables.current(PCA_MODEL)
    load_current(snapshot)  # fails if the model cannot be read
    known = snapshot.typed(PcaModelStatistics)
    required, explained = known.min_explained_variance, known.explained_variance_today
    needed = known.components_for[str(required)]
    text = f"{known.n_components} components explain {explained:.4f} of the variance"
    if known.n_components < known.n_components_requested:
        text += f" ({few_images_note(known.n_components_requested, known.n_components)})"
    if explained < required:
        text += f"; the threshold is {required:g}, which needs n_components = {needed}"
    return dg.AssetCheckResult(
        passed=explained >= required,
        description=text,
        metadata={
            "explained variance": round(explained, 6),
            "explained variance when PCA was fitted": round(known.explained_variance, 6),
            "threshold": required,
            "n_components": known.n_components,
            "n_components requested": known.n_components_requested,
            "n_components needed": needed,
        },
    )
