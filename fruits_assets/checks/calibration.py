"""Checks of `fruit_classifier`, based on the statistics of its commit."""

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from spark_src.evaluation.classifier import TOLERANCE
from spark_src.tables.registry import FRUIT_CLASSIFIER, MOBILENET_MODEL, PCA_COMPONENTS
from spark_src.tables.statistics import (
    ClassifierStatistics,
    ComponentsStatistics,
    MobilenetModelStatistics,
)

CALIBRATION = 0.1
"""Maximum expected calibration error (ECE) without a warning."""


@asset_check(FRUIT_CLASSIFIER)
def uses_current_models(context: CheckContext) -> dg.AssetCheckResult:
    """The file reproduces the probabilities computed from the tables.

    It warns if its backbone or PCA is an earlier version.
    """
    tables = context.tables
    known = tables.current(FRUIT_CLASSIFIER).typed(ClassifierStatistics)
    if known.reason:
        return dg.AssetCheckResult(passed=True, description=f"no classifier: {known.reason}")
    model = tables.current(MOBILENET_MODEL).typed(MobilenetModelStatistics).sha256
    pca = tables.current(PCA_COMPONENTS).typed(ComponentsStatistics).pca_model
    is_current = known.model_sha256 == model and known.pca_model in {None, pca}
    is_equal = known.greatest_difference <= TOLERANCE
    text = (
        f"probabilities of the file and of the tables differ by {known.greatest_difference:.1e} "
        f"at most ({TOLERANCE:g} is allowed)"
    )
    if is_equal and not is_current:
        text = (
            "the file is consistent, but its backbone or PCA is an earlier version. Update it with:"
            " uv run fruits run --select fruit_classifier"
        )
    return dg.AssetCheckResult(
        passed=is_current and is_equal,
        # The file contains its own backbone and PCA: after `pca_model+` it is outdated, not wrong.
        severity=dg.AssetCheckSeverity.WARN if is_equal else dg.AssetCheckSeverity.ERROR,
        description=text,
    )


@asset_check(FRUIT_CLASSIFIER)
def is_calibrated(context: CheckContext) -> dg.AssetCheckResult:
    """Predicted probabilities match the accuracy on held-out images: ECE at most 0.1."""
    known = context.tables.current(FRUIT_CLASSIFIER).typed(ClassifierStatistics)
    error = known.calibration_error
    if error is None:
        return dg.AssetCheckResult(
            passed=True, description="no fruit can be held out to measure it"
        )
    return dg.AssetCheckResult(
        passed=error <= CALIBRATION,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"expected calibration error {error:.3f}, temperature {known.temperature:.2f}",
        metadata={"expected calibration error": error, "temperature": known.temperature},
    )


@asset_check(FRUIT_CLASSIFIER)
def candidate_is_not_worse(context: CheckContext) -> dg.AssetCheckResult:
    """The model of FRUITS_CANDIDATE is not significantly worse than the current one.

    Otherwise it warns. The confidence intervals are bootstrapped over the held-out fruits, films
    or people.
    """
    known = context.tables.current(FRUIT_CLASSIFIER).typed(ClassifierStatistics)
    worse = [
        f"{comparison.question} ({comparison.low:+.1%} to {comparison.high:+.1%})"
        for comparison in known.comparisons
        if comparison.is_worse
    ]
    compared = ", ".join(
        f"{comparison.question}: {comparison.verdict}" for comparison in known.comparisons
    )
    return dg.AssetCheckResult(
        passed=not worse,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"the candidate is worse for {', '.join(worse)}"
        if worse
        else compared or "there is no candidate: set FRUITS_CANDIDATE to its storage",
    )


CLASSIFIER_CHECKS = [
    uses_current_models,
    is_calibrated,
    candidate_is_not_worse,
]
