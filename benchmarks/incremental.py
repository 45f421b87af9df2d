"""Seconds to make features again: of all pictures, of unchanged ones, and with 1 % new ones.

Run: uv run python -m benchmarks.incremental [--images FOLDER] [--count N]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks._common import (
    default_model,
    picture_files,
    seconds_of,
    show,
    start_spark,
    stored_pictures,
)
from spark_src.features import incremental
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.storage import Storage, Version


def main() -> None:
    """Make features of the same storage three times and print seconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument("--count", type=int, default=5_000, help="images at first")
    options = parser.parse_args()
    count = options.count
    spark, model = start_spark(), default_model()
    with tempfile.TemporaryDirectory() as folder:
        files = picture_files(options.images)
        # The same names and contents, and 1 % more of them.
        images = stored_pictures(spark, files, count, Path(folder) / "first")
        more = stored_pictures(spark, files, count + count // 100, Path(folder) / "more")
        _make(spark, images, model, Path(folder) / "warm")  # not counted: the JVM compiles
        made = Path(folder) / "made"
        runs = [
            ("all pictures", *_make(spark, images, model, made)),
            ("unchanged", *_make(spark, images, model, made)),
            ("1 % new", *_make(spark, more, model, made)),
        ]
    whole = runs[0][2]
    show(
        f"features of {count:,} images, made again",
        ("input", "pictures featurized", "seconds", "of the whole"),
        [(name, f"{new:,}", f"{took:.2f}", f"{took / whole:.1%}") for name, new, took in runs],
    )


def _make(
    spark: SparkSession, images: Version, model: MobilenetModel, folder: Path
) -> tuple[int, float]:
    """Pictures featurized, and seconds."""
    storage = Storage(Location.parse(str(folder)))
    featurized = 0

    def make() -> None:
        nonlocal featurized
        plan = incremental.plan(storage, images, model.sha256)
        featurized = len(plan.missing)
        draft = storage.begin("mobilenet_features", "benchmark")
        incremental.make(spark, plan, model, draft.location)
        storage.publish(draft, {"rows": images.rows, "model": model.sha256, "pixels": PIXELS})
        plan.forget_parts()

    seconds = seconds_of(make)
    return featurized, seconds


if __name__ == "__main__":
    main()
