"""The variance that 50 components explain with this pipeline and with the published method.

Run: uv run python -m benchmarks.variance (after the assets were materialized; see FRUITS_STORAGE)
"""

from __future__ import annotations

import argparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks._common import show
from fruits_assets.settings import Settings
from spark_src.io.locations import Location
from spark_src.pca.model import FIT_SPLIT
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from spark_src.tables.vectors import to_matrix

N_COMPONENTS = 50
SHARE = 0.9


def main() -> None:
    """Fit each variant on the training images with NumPy, and print the shares."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    features = _features()
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    standardised = centred / np.where(deviation > 0, deviation, 1)
    ways = {
        "centred (ours)": centred,
        "centred and standardised (published)": standardised,
        "not centred (its first component is the mean)": features,
    }
    show(
        f"{len(features):,} images x {features.shape[1]:,} features",
        ("PCA", f"{N_COMPONENTS} components explain", f"components for {SHARE}"),
        [(name, *_variance_kept(matrix)) for name, matrix in ways.items()],
    )


def _features() -> NDArray[np.float64]:
    features = Tables(Location.parse(Settings().storage)).current("mobilenet_features")
    table = read_columns(features.locations, ["split", "features"])
    training = table.filter(pc.equal(table["split"], FIT_SPLIT))
    chosen = training if training.num_rows else table
    return to_matrix(pa.concat_arrays(chosen["features"].chunks)).astype(np.float64)


def _variance_kept(matrix: NDArray[np.float64]) -> tuple[str, str]:
    variances = np.linalg.eigvalsh(matrix.T @ matrix)[::-1]
    shares = np.cumsum(variances) / variances.sum()
    return f"{shares[N_COMPONENTS - 1]:.4f}", f"{np.argmax(shares >= SHARE) + 1}"


if __name__ == "__main__":
    main()
