"""Compares heads and inputs by held-out accuracy, calibration and seconds, on the same folds.

Run: uv run python -m benchmarks.classifier (after the assets were materialized; see FRUITS_STORAGE)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks._common import show
from fruits_assets.settings import Settings
from spark_src.evaluation.folds import questions
from spark_src.evaluation.head import SHRINKAGE
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.quality import Vectors, cross_validated_accuracy, read
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

SHRINKAGES = (0.001, 0.01, 0.03, 0.1, 0.3, 0.6)

STRENGTHS = (0.001, 0.1, 1)
"""Inverse strengths of regularisation of logistic regression."""

Matrix = NDArray[np.float32]
Names = NDArray[np.str_]


def main() -> None:
    """Print a row for each head and question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logistic", action="store_true", help="also run logistic regression")
    parser.add_argument("--most-images", type=int, default=6_000)
    arguments = parser.parse_args()
    tables = Tables(Location.parse(Settings().storage))
    features, components = tables.current("mobilenet_features"), tables.current("pca_components")
    vectors = read(features, components, arguments.most_images)
    rows = list(_discriminant(vectors))
    if arguments.logistic:
        rows += _logistic(vectors)
    columns = ["head", "question", "images", "accuracy", "ECE at T = 1", "ECE", "seconds"]
    show(f"{len(vectors.images):,} images", columns, rows)


def _discriminant(vectors: Vectors) -> Iterator[list[str]]:
    for matrix in (vectors.features, vectors.components):
        for shrinkage in SHRINKAGES:
            started = time.perf_counter()
            answers = hold_out(vectors.images, matrix, shrinkage)
            seconds = time.perf_counter() - started
            chosen = " (default)" if shrinkage == SHRINKAGE else ""
            for answer in answers:
                yield [
                    f"LDA of {matrix.shape[1]:,}, shrinkage {shrinkage:g}{chosen}",
                    answer.question,
                    f"{len(answer.rows):,}",
                    f"{answer.accuracy:.4f}",
                    f"{answer.calibration_error(1.0):.4f}",
                    f"{answer.calibration_error():.4f}",
                    f"{seconds:.1f}",
                ]


def _logistic(vectors: Vectors) -> Iterator[list[str]]:
    from sklearn.linear_model import LogisticRegression

    def predict(strength: float, training: Matrix, names: Names, test: Matrix) -> Names:
        model = LogisticRegression(C=strength, max_iter=500)
        predicted: Names = model.fit(training, names).predict(test)
        return predicted

    asked = [folds for folds in questions(vectors.images) if folds.reason_not_asked is None]
    for matrix, strength in product((vectors.components, vectors.features), STRENGTHS):
        for folds in asked:
            started = time.perf_counter()
            share = cross_validated_accuracy(folds, matrix[folds.rows], partial(predict, strength))
            seconds = time.perf_counter() - started
            name = f"logistic regression of {matrix.shape[1]:,}, C = {strength:g}"
            images = f"{(folds.fold >= 0).sum():,}"
            yield [name, folds.question, images, f"{share:.4f}", "", "", f"{seconds:.1f}"]


if __name__ == "__main__":
    main()
