"""Checks of the models: which weights, and the same ones in every asset."""

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from spark_src.features.model import IMAGENET_WEIGHTS_SHA256
from spark_src.tables.registry import (
    MOBILENET_FEATURES,
    MOBILENET_MODEL,
    PCA_COMPONENTS,
    PCA_MODEL,
)
from spark_src.tables.statistics import (
    FeaturesStatistics,
    MobilenetModelStatistics,
    PcaModelStatistics,
)


@asset_check(MOBILENET_MODEL)
def weights_are_imagenet(context: CheckContext) -> dg.AssetCheckResult:
    """The model was built from the ImageNet weights that come with the project.

    Other weights are allowed, but cause a warning.
    """
    known = context.tables.current(MOBILENET_MODEL).typed(MobilenetModelStatistics)
    passed = known.weights_sha256 == IMAGENET_WEIGHTS_SHA256
    other = f"other weights were chosen: sha256 {known.weights_sha256}"
    text = "the pinned ImageNet weights" if passed else other
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=text)


@asset_check(PCA_COMPONENTS)
def one_model_throughout(context: CheckContext) -> dg.AssetCheckResult:
    """Features and PCA come from the current model, so results of two models are never mixed.

    Model, features and PCA refer to the model by its sha256.
    """
    tables = context.tables
    model = tables.current(MOBILENET_MODEL).typed(MobilenetModelStatistics)
    features = tables.current(MOBILENET_FEATURES).typed(FeaturesStatistics)
    pca = tables.current(PCA_MODEL).typed(PcaModelStatistics)
    digests = {
        MOBILENET_MODEL: model.sha256,
        MOBILENET_FEATURES: features.model_sha256,
        PCA_MODEL: pca.model_sha256,
    }
    passed = len(set(digests.values())) == 1
    text = (
        f"model {model.sha256[:12]} in all assets"
        if passed
        else f"different models: {digests}. Materialize mobilenet_features and its downstream "
        "assets."
    )
    return dg.AssetCheckResult(passed=passed, description=text, metadata=digests)


MODEL_CHECKS = [weights_are_imagenet, one_model_throughout]
