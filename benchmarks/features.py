"""Images per second: this pipeline, the published method, and the engine alone in two processes.

Also measures 12-megapixel photos from file to features.

Run: uv run python -m benchmarks.features [--images FOLDER] [--count N] [--rounds N] [--photos N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import numpy as np
from pyspark.sql import SparkSession

from benchmarks import published
from benchmarks._common import (
    default_model,
    make_features,
    picture_files,
    seconds_of,
    show,
    start_spark,
    stored_pictures,
)
from benchmarks.photos import compare_photos
from spark_src.features.inference import BATCH, Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import INPUT_SIZE, model_input
from spark_src.tables.delta import Snapshot
from spark_src.tables.frames import read_files

PROCESSES = 2


def main() -> None:
    """Measure all methods in alternating rounds, and print medians and ratios."""
    options = _options()
    files = picture_files(options.images)
    count = max(options.count, len(files))
    model = default_model()
    if not options.count:
        compare_photos(start_spark(), files, model, options.photos, options.rounds)
        return
    contents = [files[number % len(files)].read_bytes() for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        spark = start_spark()
        images = stored_pictures(spark, files, count, Path(folder))
        warm = stored_pictures(spark, files, 16 * PROCESSES, Path(folder) / "warm")
        _ours(spark, images, model, folder)  # not counted: the JVM compiles, workers start
        ours, bare = [], []
        for _ in range(options.rounds):
            ours.append(count / _ours(spark, images, model, folder))
            bare.append(count / _bare(model.content, contents))
        _published(spark, warm, folder)  # not counted: workers import TensorFlow
        baseline = count / _published(spark, images, folder)
    rates = {
        "published method": baseline,
        "ours": median(ours),
        "bare engine, 2 processes": median(bare),
    }
    rows = [
        (name, f"{rate:.1f}", f"{rate / baseline:.2f}", f"{rate / median(bare):.3f}")
        for name, rate in rates.items()
    ]
    title = f"{count:,} images ({len(files):,} different), median of {options.rounds} rounds"
    show(title, ("method", "images/s", "x published", "x bare engine"), rows)
    pairs = [f"{rate / limit:.3f}" for rate, limit in zip(ours, bare, strict=True)]
    show(
        "ours / bare engine, round by round",
        ["round", *map(str, range(1, len(pairs) + 1))],
        [("ratio", *pairs)],
    )
    if options.photos:
        compare_photos(spark, files, model, options.photos, options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument(
        "--count", type=int, default=10_080, help="minimum number of images; 0: photos only"
    )
    parser.add_argument("--photos", type=int, default=96, help="photos of 12 megapixels; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _ours(spark: SparkSession, images: Snapshot, model: MobilenetModel, folder: str) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as target:
        return seconds_of(lambda: make_features(spark, images, model, Path(target)))


def _published(spark: SparkSession, images: Snapshot, folder: str) -> float:
    session = spark.newSession()
    features = published.features(session, read_files(session, images))
    return seconds_of(lambda: features.write.mode("overwrite").parquet(f"{folder}/published"))


def _bare(model: bytes, contents: Sequence[bytes]) -> float:
    """Same pixels and engine in two processes without Spark: an upper bound."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(PROCESSES + 1), context.Barrier(PROCESSES + 1)
    workers = [
        context.Process(target=_run_bare, args=(model, contents[part::PROCESSES], ready, done))
        for part in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    seconds = seconds_of(done.wait)
    for worker in workers:
        worker.join()
    return seconds


def _run_bare(model: bytes, contents: Sequence[bytes], ready: Barrier, done: Barrier) -> None:
    engine = Engine(model)
    pictures = np.zeros((BATCH, INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    engine.features(pictures)
    ready.wait()
    for start in range(0, len(contents), BATCH):
        batch = contents[start : start + BATCH]
        for index, content in enumerate(batch):
            model_input(content, out=pictures[index])
        engine.features(pictures[: len(batch)])
    done.wait()


if __name__ == "__main__":
    main()
