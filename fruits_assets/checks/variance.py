"""The check of the variance that the components keep of the features."""

import dagster as dg

from fruits_assets.resources import AssetStorage
from spark_src.pca.fit import load_current
from spark_src.pca.model import few_images_note
from spark_src.tables.registry import PCA_COMPONENTS, PCA_MODEL
from spark_src.tables.statistics import PcaModelStatistics


@dg.asset_check(asset=PCA_COMPONENTS)
def variance_is_explained(storage: AssetStorage) -> dg.AssetCheckResult:
    """The components keep enough of the variance of the 1,280 features.

    The threshold is `min_explained_variance` (0.9), measured on the current images. Below it, the
    check reports how many components would be needed.
    """
    snapshot = storage.tables.current(PCA_MODEL)
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
            "explained variance": explained,
            "explained variance when PCA was fitted": known.explained_variance,
            "threshold": required,
            "n_components": known.n_components,
            "n_components requested": known.n_components_requested,
            "n_components needed": needed,
        },
    )
