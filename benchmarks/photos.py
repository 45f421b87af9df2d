"""Compares 12-megapixel photos reduced at ingest with full resolution, from file to features."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from benchmarks._common import make_features, seconds_of, show, stored_pictures
from spark_src.features.model import MobilenetModel
from spark_src.images.rejection import Limits
from spark_src.images.validate import MAX_SIDE
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from spark_src.tables.vectors import to_matrix

WIDTH, HEIGHT, MAX_DISTINCT = 4032, 3024, 12
VARIANTS = {"full resolution": Limits(max_side=MAX_SIDE), "reduced (default)": Limits()}


def compare_photos(
    spark: SparkSession, files: Sequence[Path], model: MobilenetModel, count: int, rounds: int
) -> None:
    """Print images per second, stored bytes, and the similarity of the features.

    Args:
        spark: the session.
        files: source pictures. Files that are not photos are enlarged.
        model: computes the features.
        count: number of photos.
        rounds: number of alternating rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(files, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        results: dict[str, tuple[float, dict[str, NDArray[np.float32]]]] = {}
        for number in range(rounds):
            for name, limits in VARIANTS.items():
                with tempfile.TemporaryDirectory(dir=folder) as target:
                    pipeline = _Pipeline(spark, photos, model, count, limits, Path(target))
                    seconds[name].append(seconds_of(pipeline.run))
                    results[name] = pipeline.result() if number == 0 else results[name]
    rates = {name: count / median(found) for name, found in seconds.items()}
    full, reduced = (results[name] for name in VARIANTS)
    similarities = [_cosine(full[1][path], vector) for path, vector in reduced[1].items()]
    rows = [
        (
            name,
            f"{rate:.2f}",
            f"{rate / min(rates.values()):.2f}",
            f"{results[name][0] / 1000:,.0f}",
        )
        for name, rate in rates.items()
    ]
    title = f"{count:,} photos of 12 megapixels, from file to features, median of {rounds} rounds"
    show(title, ("stored pictures", "12 MP, images/s", "x", "kB per picture"), rows)
    show(
        "cosine similarity of features, reduced and at full resolution",
        ("photos", "min", "median"),
        [(str(len(similarities)), f"{min(similarities):.4f}", f"{median(similarities):.4f}")],
    )


@dataclass
class _Pipeline:
    """Ingest and features of some photos, with their results."""

    spark: SparkSession
    photos: Sequence[Path]
    model: MobilenetModel
    count: int
    limits: Limits
    folder: Path
    n_bytes: int = 0

    def run(self) -> None:
        images = stored_pictures(self.spark, self.photos, self.count, self.folder, self.limits)
        self.n_bytes = sum(file.bytes for file in images.files)
        make_features(self.spark, images, self.model, self.folder / "features")

    def result(self) -> tuple[float, dict[str, NDArray[np.float32]]]:
        """Bytes per picture, and features by path."""
        tables = Tables(Location.parse(str(self.folder / "features")))
        snapshot = tables.current("mobilenet_features")
        table = read_columns(snapshot.locations, ["path", "features"])
        matrix = to_matrix(pa.concat_arrays(table["features"].chunks))
        return self.n_bytes / self.count, dict(zip(table["path"].to_pylist(), matrix, strict=True))


def _photos(files: Sequence[Path], folder: Path) -> list[Path]:
    """Some files as 12-megapixel photos: large files unchanged, others enlarged."""
    large = [file for file in files if file.stat().st_size > 10**6]
    photos = list(large[:MAX_DISTINCT])
    samples = files[:: max(1, len(files) // MAX_DISTINCT)][: MAX_DISTINCT - len(photos)]
    for number, file in enumerate(samples):
        with Image.open(file) as picture:
            enlarged = picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        grain = np.random.default_rng(number).normal(0, 4, (HEIGHT, WIDTH, 1))
        noisy = np.clip(np.asarray(enlarged) + grain, 0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(noisy).save(content, "JPEG", quality=90)
        photos.append(folder / f"{number}.jpg")
        photos[-1].write_bytes(content.getvalue())
    return photos


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
