"""Seconds to fit PCA: ours, Spark ML's, the published method; and the PCA-only run as a process.

Run: uv run python -m benchmarks.pca [--rows N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession

from benchmarks import published
from benchmarks._common import (
    default_model,
    picture_files,
    seconds_of,
    show,
    start_spark,
)
from spark_src.assemble import TABLE
from spark_src.features.inference import Engine
from spark_src.images.preprocess import model_input
from spark_src.io.locations import Location
from spark_src.pca.fit import fit_version
from spark_src.spark.session import read_vectors
from spark_src.storage import Storage, Version
from spark_src.tables.vector_files import write_vectors
from spark_src.tables.vectors import FEATURES, float_lists

N_COMPONENTS = 50
FILES = 2


def main() -> None:
    """Fit on the same rows with each method and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=36_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(Location.parse(folder))
        features = store_features(storage, rows)
        alone = _process(folder)
        spark = start_spark()
        table = read_vectors(spark, features.location)
        ours = _warm(lambda: fit_version(spark, features, N_COMPONENTS, 0.9), rounds=5)
        spark_ml = _warm(lambda: _spark_ml(table), rounds=5)
        baseline = _warm(lambda: _published(spark, features.location), rounds=1)
    timings = {"published method": baseline, "Spark ML PCA": spark_ml, "ours": ours}
    show(
        f"PCA fit, {rows:,} x {FEATURES:,}, {N_COMPONENTS} components",
        ("method", "seconds", "times ours"),
        [(name, f"{taken:.2f}", f"{taken / ours:.1f}") for name, taken in timings.items()],
    )
    show(
        "dagster asset materialize --select pca_components+",
        ("rows", "seconds, whole process"),
        [(f"{rows:,}", f"{alone:.1f}")],
    )


def store_features(storage: Storage, rows: int) -> Version:
    """A version of `mobilenet_features`: mixtures of pairs of the sample's real features."""
    model = default_model()
    storage.publish(storage.begin("mobilenet_model", "benchmark"), model.facts)
    real = _sample_features(model.content)
    random = np.random.default_rng(50)
    draft = storage.begin("mobilenet_features", "benchmark")
    per_file = np.array_split(np.arange(rows), FILES)
    for number, numbers in enumerate(per_file):
        mixed = _mixtures(real, len(numbers), random)
        names = pa.array([f"Training/Mixed/{row:06}.jpg" for row in numbers])
        columns = {
            "image_id": names,
            "path": names,
            "split": pa.array(["Training"] * len(numbers)),
            "label": pa.array(["Mixed"] * len(numbers)),
            "features": float_lists(mixed),
            "model": pa.array([model.sha256] * len(numbers)),
        }
        table = pa.table(columns, schema=TABLE)
        file = draft.location / f"part-{number}.parquet"
        write_vectors([table], file, TABLE)
    facts = {
        "rows": rows,
        "models": [model.sha256],
        "digest": "mixed",
        "splits": {"Training": rows},
    }
    return storage.publish(draft, facts)


def _sample_features(model: bytes) -> NDArray[np.float32]:
    engine = Engine(model)
    pictures = (model_input(file.read_bytes()) for file in picture_files(None))
    return np.concatenate([engine.features(picture[None]) for picture in pictures])


def _mixtures(
    real: NDArray[np.float32], rows: int, random: np.random.Generator
) -> NDArray[np.float32]:
    first, second = random.integers(len(real), size=(2, rows))
    share = random.random((rows, 1), dtype=np.float32)
    noise = random.normal(0, 0.05, (rows, FEATURES)).astype(np.float32)
    return np.maximum(share * real[first] + (1 - share) * real[second] + noise, 0)


def _warm(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of some runs after a first that is not counted: it starts and compiles."""
    work()
    return median(seconds_of(work) for _ in range(rounds))


def _spark_ml(table: DataFrame) -> None:
    vectors = table.select(array_to_vector("features").alias("vectors"))
    PCA(k=N_COMPONENTS, inputCol="vectors", outputCol="pca").fit(vectors)


def _published(spark: SparkSession, features: Location) -> None:
    published.pca(spark.read.parquet(features.hadoop), N_COMPONENTS)


def _process(storage: str) -> float:
    """Seconds of the whole command, from a cold start."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    command += ["-m", "fruits_assets.definitions", "--select", "pca_components+"]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"FRUITS_STORAGE": storage, "DAGSTER_HOME": home}
        log = Path(home) / "log"
        with log.open("w") as output:
            return seconds_of(
                lambda: subprocess.run(command, env=environment, stderr=output, check=True)
            )


if __name__ == "__main__":
    main()
