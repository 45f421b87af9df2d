"""The check of `embedding_quality`: what reducing the features to components costs."""

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from spark_src.evaluation import quality_files
from spark_src.tables.registry import EMBEDDING_QUALITY

MAX_LOSS = 0.05
"""Accuracy that the components may lose compared with the features, without a warning."""


@asset_check(EMBEDDING_QUALITY)
def accuracy_is_kept(context: CheckContext) -> dg.AssetCheckResult:
    """5 nearest neighbours classify held-out images as well by components as by features.

    It warns if the components lose more than 5 percentage points.
    """
    quality = quality_files.load(context.tables.current(EMBEDDING_QUALITY))
    losses = {
        answer.question: answer.scores.neighbours_of_features
        - answer.scores.neighbours_of_components
        for answer in quality.answers
        if answer.scores
    }
    if not losses:
        text = (
            "nothing can be evaluated: that needs two labels, each with two fruits, films or people"
        )
        return dg.AssetCheckResult(passed=True, description=text)
    question, loss = max(losses.items(), key=lambda item: item[1])
    passed = loss <= MAX_LOSS
    text = (
        f"{quality.n_components} components instead of 1,280 features change the accuracy by "
        f"{round(-100 * loss, 1) + 0.0:+.1f} points (question: {question})"
    )
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=text if passed else f"{text}. Keep more: uv run fruits run -k 100",
        metadata={f"accuracy lost, {name}": round(lost, 4) for name, lost in losses.items()},
    )
