"""Time and worker memory at 1x and 10x the rows, for features and for PCA.

Run: uv run python -m benchmarks.scale [--images FOLDER] [--count N]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from benchmarks._common import (
    default_model,
    make_features,
    picture_files,
    seconds_of,
    show,
    start_spark,
    stored_pictures,
)
from benchmarks.pca import N_COMPONENTS, store_features
from spark_src.io.locations import Location
from spark_src.pca.fit import fit_version
from spark_src.storage import Storage

FACTOR = 10


def main() -> None:
    """Run the small one, then the large one in the same workers, whose peaks only grow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument("--count", type=int, default=2048, help="images at 1x")
    options = parser.parse_args()
    spark = start_spark()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            _features(spark, picture_files(options.images), options.count, Path(folder)),
            _pca(spark, options.count * 8, Path(folder)),
        ]
    show(
        f"1x and {FACTOR}x rows",
        ("stage", "rows at 1x", "s at 1x", f"s at {FACTOR}x", "ratio", "MB at 1x", "ratio"),
        rows,
    )


def _features(spark: SparkSession, files: list[Path], count: int, folder: Path) -> tuple[str, ...]:
    model = default_model()

    def run(rows: int, name: str) -> tuple[float, int]:
        images = stored_pictures(spark, files, rows, folder / name)
        made = folder / f"{name} made"
        seconds = seconds_of(lambda: make_features(spark, images, model, made))
        return seconds, peak_worker_memory(spark)

    run(64, "warm")
    return _row("features", count, run(count, "small"), run(count * FACTOR, "large"))


def _pca(spark: SparkSession, count: int, folder: Path) -> tuple[str, ...]:
    def run(rows: int, name: str) -> tuple[float, int]:
        features = store_features(Storage(Location.parse(str(folder / name))), rows)
        seconds = seconds_of(lambda: fit_version(spark, features, N_COMPONENTS, 0.9))
        return seconds, peak_worker_memory(spark)

    run(count, "pca warm")
    return _row("PCA fit", count, run(count, "pca small"), run(count * FACTOR, "pca large"))


def _row(
    stage: str, count: int, small: tuple[float, int], large: tuple[float, int]
) -> tuple[str, ...]:
    times = f"{small[0]:.2f}", f"{large[0]:.2f}", f"{large[0] / small[0]:.2f}"
    return stage, f"{count:,}", *times, f"{small[1]:,}", f"{large[1] / small[1]:.3f}"


def peak_worker_memory(spark: SparkSession) -> int:
    """The greatest resident memory that a living Python worker ever had, in MB."""
    tasks = spark.sparkContext.defaultParallelism * 4
    peaks = spark.range(tasks).repartition(tasks).mapInArrow(_peak, "peak long")
    return int(max(row["peak"] for row in peaks.collect()) / 1024)


def _peak(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield pa.RecordBatch.from_pylist([{"peak": peak}])


if __name__ == "__main__":
    main()
