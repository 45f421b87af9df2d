"""Seconds to fit PCA with this pipeline, Spark ML and the published method, and of the PCA command.

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
from spark_src.features import files as model_files
from spark_src.features.inference import Engine
from spark_src.images.preprocess import PIXELS, model_input
from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel, fit_sums
from spark_src.pca.sums import update_sums
from spark_src.tables.audit import vector_statistics
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.frames import read_files
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import MOBILENET_FEATURES
from spark_src.tables.statistics import FeaturesStatistics
from spark_src.tables.vectors import FEATURES, float_lists

N_COMPONENTS = 50
ROWS_PER_FILE = 1024


def main() -> None:
    """Fit with each method on the same rows, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=36_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        storage = Tables(Location.parse(folder))
        features = store_features(storage, rows)
        command_seconds = _process(folder)
        spark = start_spark()
        table = read_files(spark, features)
        ours = _warm(lambda: fit(spark, features), rounds=5)
        spark_ml = _warm(lambda: _spark_ml(table), rounds=5)
        baseline = _warm(lambda: _published(table), rounds=1)
    timings = {"published method": baseline, "Spark ML PCA": spark_ml, "ours": ours}
    show(
        f"PCA fit, {rows:,} x {FEATURES:,}, {N_COMPONENTS} components",
        ("method", "seconds", "times ours"),
        [(name, f"{taken:.2f}", f"{taken / ours:.1f}") for name, taken in timings.items()],
    )
    show(
        "dagster asset materialize --select pca_model+",
        ("rows", "seconds, whole process"),
        [(f"{rows:,}", f"{command_seconds:.1f}")],
    )


def fit(spark: SparkSession, features: Snapshot) -> PcaModel:
    """Compute the sums of all images, and fit."""
    sums = update_sums(lambda: spark, features, None).stored.sums
    return fit_sums(sums, N_COMPONENTS, "benchmark")


def store_features(tables: Tables, rows: int) -> Snapshot:
    """A version of `mobilenet_features`: mixtures of pairs of the sample's real features."""
    model = default_model()
    write = tables.begin("mobilenet_model", "benchmark")
    name = model_files.save(model, write.location)
    Change(write, model_files.statistics(model, "benchmark", name)).commit()
    real = _sample_features(model.content)
    random = np.random.default_rng(50)
    write = tables.begin("mobilenet_features", "benchmark")
    written = []
    for number, numbers in enumerate(np.array_split(np.arange(rows), -(-rows // ROWS_PER_FILE))):
        mixed = _mixtures(real, len(numbers), random)
        names = pa.array([f"Training/Mixed/{row:06}.jpg" for row in numbers])
        columns = {
            "image_id": names,
            "path": names,
            "split": pa.array(["Training"] * len(numbers)),
            "label": pa.array(["Mixed"] * len(numbers)),
            "orientation": pa.array([1] * len(numbers), pa.int32()),
            "features": float_lists(mixed),
            "model_sha256": pa.array([model.sha256] * len(numbers)),
        }
        table = pa.table(columns, schema=MOBILENET_FEATURES)
        file = new_name(number).replace(".parquet", ".benchmark.parquet")
        written.append(write_file([table], write.folder, file, MOBILENET_FEATURES))
    statistics = FeaturesStatistics(
        digest="mixed",
        rows=rows,
        model_sha256=model.sha256,
        preprocessing=PIXELS,
        vectors=vector_statistics(table["features"].combine_chunks()),
        splits={"Training": rows},
    )
    return Change(write, statistics, tuple(written)).commit()


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
    mixed: NDArray[np.float32] = np.maximum(
        share * real[first] + (1 - share) * real[second] + noise, 0
    )
    return mixed


def _warm(work: Callable[[], object], rounds: int) -> float:
    """Median seconds after a warm-up run."""
    work()
    return median(seconds_of(work) for _ in range(rounds))


def _spark_ml(table: DataFrame) -> None:
    vectors = table.select(array_to_vector(table["features"]).alias("vectors"))
    PCA(k=N_COMPONENTS, inputCol="vectors", outputCol="pca").fit(vectors)


def _published(table: DataFrame) -> None:
    published.pca(table, N_COMPONENTS)


def _process(storage: str) -> float:
    """Seconds of the command, including start-up."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    command += ["-m", "fruits_assets.definitions", "--select", "pca_model+"]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"FRUITS_STORAGE": storage, "DAGSTER_HOME": home}
        log = Path(home) / "log"
        with log.open("w") as output:
            return seconds_of(
                lambda: subprocess.run(command, env=environment, stderr=output, check=True)
            )


if __name__ == "__main__":
    main()
