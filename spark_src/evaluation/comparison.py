"""Compares two models on the same held-out images, with confidence intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_src.errors import StorageError
from spark_src.evaluation.head import Matrix
from spark_src.evaluation.held_out import HeldOut, hold_out
from spark_src.evaluation.quality import MOST_IMAGES, read
from spark_src.tables.delta import Tables
from spark_src.tables.model_comparison import Comparison
from spark_src.tables.registry import MOBILENET_FEATURES, PCA_COMPONENTS

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 2_000
CONFIDENCE = 0.95


def digests_of(candidate: Tables | None) -> tuple[str, ...]:
    """Digest of everything of the candidate that a comparison depends on; none without one."""
    return () if candidate is None else (candidate.current(PCA_COMPONENTS).statistics.digest,)


def compare_tables(
    current: Tables, candidate: Tables, most_images: int = MOST_IMAGES
) -> list[Comparison]:
    """Compare the models of two storages on the images that both have, by their components.

    Raises:
        StorageError: the storages have no image in common.
        NothingStoredError: an asset was never materialized.
    """
    ours, theirs = (
        read(tables.current(MOBILENET_FEATURES), tables.current(PCA_COMPONENTS), most_images)
        for tables in (current, candidate)
    )
    shared = ours.images.reset_index().merge(theirs.images.reset_index(), on=["path", "label"])
    if shared.empty:
        raise StorageError(
            f"{candidate.root} and {current.root} have no image in common. Materialize both from "
            "the same input."
        )
    vectors = ours.components[shared["index_x"]], theirs.components[shared["index_y"]]
    return compare(shared[["path", "label"]], *vectors)


def compare(images: pd.DataFrame, current: Matrix, candidate: Matrix) -> list[Comparison]:
    """Evaluate both models on every applicable question.

    Args:
        images: path and label, one row per image.
        current: (n, length): vectors of the current model.
        candidate: (n, other length): vectors of the candidate.
    """
    predictions = zip(hold_out(images, current), hold_out(images, candidate), strict=True)
    return [_compared(*answers) for answers in predictions]


def _compared(current: HeldOut, candidate: HeldOut) -> Comparison:
    import pandas as pd  # takes 0.5 s

    groups = pd.factorize(current.group)[0]
    right = [answer.predicted == answer.given for answer in (current, candidate)]
    low, high = interval(right[1].astype(float) - right[0], groups)
    return Comparison(
        question=current.question,
        held_out=current.held_out,
        images=len(groups),
        groups=int(groups.max()) + 1,
        current=current.accuracy,
        candidate=candidate.accuracy,
        low=low,
        high=high,
    )


def interval(differences: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Confidence interval of the mean difference, by a bootstrap over groups.

    Args:
        differences: (n,): for each image 1 if only the candidate is correct, -1 if only the current
            model is, otherwise 0.
        groups: (n,): the index of each image's group.
    """
    sums, counts = np.bincount(groups, differences), np.bincount(groups)
    random = np.random.default_rng(360)
    drawn = random.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
