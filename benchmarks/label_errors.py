"""Swaps labels of the stored images, and measures how many are found.

Run: uv run python -m benchmarks.label_errors (after the assets were materialized; FRUITS_STORAGE)
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from benchmarks._common import show
from fruits_assets.settings import Settings
from spark_src.evaluation.head import Matrix
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.label_issues import label_issues
from spark_src.evaluation.neighbours import nearest
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.statistics import ComponentsStatistics
from spark_src.tables.vectors import float_matrix


def main() -> None:
    """Swap labels, and print precision at the number of swaps, and recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.02, help="share of labels to swap")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    components = Tables(Location.parse(Settings().storage)).current("pca_components")
    table = read_rows(components, ["path", "image_id", "label", "pca"]).sort_by("path")
    vectors = float_matrix(table["pca"], components.typed(ComponentsStatistics).n_components)
    images = table.select(["path", "image_id", "label"]).to_pandas()
    rows = [_round(images, vectors, arguments.share, number) for number in range(arguments.rounds)]
    columns = ["round", "planted", "precision at planted", "called issues", "recall", "seconds"]
    columns += ["suggestion right", "doubtful before"]
    show(f"{len(images):,} images, {images['label'].nunique():,} labels", columns, rows)


def _round(images: pd.DataFrame, vectors: Matrix, share: float, number: int) -> list[str]:
    random = np.random.default_rng(number)
    labelled = np.flatnonzero(images["label"].notna())
    near = nearest(vectors[labelled])
    before = int(label_issues(images, hold_out(images, vectors), near)["issue"].sum())
    planted = random.choice(labelled, round(share * len(labelled)), replace=False)
    labels = images["label"].to_numpy(object).copy()
    others = np.unique(labels[labelled].astype(str))
    for row in planted:
        labels[row] = random.choice(others[others != labels[row]])
    swapped = images.assign(label=labels)
    started = time.perf_counter()
    found = label_issues(swapped, hold_out(swapped, vectors), nearest(vectors[labelled]))
    seconds = time.perf_counter() - started
    right = dict(zip(images["path"], images["label"], strict=True))
    is_planted = found["path"].isin(images["path"].iloc[planted])
    called = found["issue"]
    suggested = found["suggested"] == found["path"].map(right)
    return [
        str(number),
        f"{len(planted):,}",
        f"{is_planted[: len(planted)].mean():.3f}",
        f"{called.sum():,}",
        f"{(called & is_planted).sum() / len(planted):.3f}",
        f"{seconds:.1f}",
        f"{suggested[is_planted].mean():.3f}",
        f"{before:,}",
    ]


if __name__ == "__main__":
    main()
