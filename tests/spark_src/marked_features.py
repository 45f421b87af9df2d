"""Feature runs with synthetic vectors that identify their picture, without a network."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.features import incremental
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import Computation, FeaturesPlan, plan_features
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, Snapshot, Tables
from spark_src.tables.parquet import open_parquet, write_file
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES
from spark_src.tables.vectors import FEATURES, float_lists
from tests.pipeline import ingest, table_of

ORIENTATION = 0x0112
MODEL = MobilenetModel(b"a model that is never loaded", "weights", 1.0, 0.0)


def jpeg(colour: int = 0, orientation: int = 1) -> bytes:
    """A small picture of one colour; the content does not depend on the orientation."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (9, 7), (colour, 0, 99)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def expected(image_id: str, orientation: int) -> float:
    """The number that fills a picture's vector."""
    return float(zlib.crc32(image_id.encode()) % 100_000 + orientation / 16)


@dataclass
class Features:
    """A folder of pictures, and its features."""

    spark: SparkSession
    tables: Tables
    source: Path

    def put(self, name: str, content: bytes) -> None:
        """Write a picture to the folder."""
        (self.source / name).parent.mkdir(parents=True, exist_ok=True)
        (self.source / name).write_bytes(content)

    def ingest(self) -> Snapshot:
        """The updated `raw_images`."""
        return ingest(self.spark, self.tables, self.source).raw

    def plan(self, model: str = MODEL.sha256, recompute: bool = False) -> FeaturesPlan:
        """Plan the features of the current folder."""
        write = self.tables.begin("mobilenet_features", "run-1")
        return plan_features(write, self.ingest(), model, recompute)

    def compute(
        self, plan: FeaturesPlan, tasks: Sequence[Computation] | None = None
    ) -> list[DataFile]:
        """Write the files of some tasks of a plan (all by default), as a killed run would."""
        folder = self.tables.prefix("mobilenet_features")
        chosen = plan.computations if tasks is None else tasks
        return [compute_task(task, folder, plan) for task in chosen]

    def finish(self, plan: FeaturesPlan) -> Snapshot:
        """Write all files, and commit them as the asset does."""
        write = self.tables.begin("mobilenet_features", "run-1")
        computed = [file for file in self.compute(plan) if "/" not in file.name]
        counter = self.spark.sparkContext.accumulator(0)
        assembled = incremental.compute(
            lambda: self.spark,
            replace(plan, computations=()),
            MODEL,
            write.folder,
            lambda: counter,
        )
        new = [*computed, *assembled]
        vectors = incremental.audit(lambda: self.spark, plan, new, write)
        found = incremental.statistics(plan, vectors)
        removed = [file.name for file in plan.removed]
        snapshot = write.commit(found, [*plan.adopted, *new], removed)
        incremental.clear_staged(write)
        return snapshot

    def refresh(self) -> tuple[FeaturesPlan, Snapshot]:
        """A complete run, with a check of every row."""
        plan = self.plan()
        snapshot = self.finish(plan)
        rows, pictures = table_of(snapshot).to_pylist(), table_of(plan.images).to_pylist()
        keys = (*KEYS, "orientation")
        assert sorted(tuple(map(str, (row[key] for key in keys))) for row in rows) == sorted(
            tuple(map(str, (row[key] for key in keys))) for row in pictures
        )
        for row in rows:
            assert set(row["features"]) == {expected(row["image_id"], row["orientation"])}
        return plan, snapshot


def compute_task(task: Computation, folder: Location, plan: FeaturesPlan) -> DataFile:
    """Write one file of vectors that identify their pictures."""
    with open_parquet(task.source) as parquet:
        rows = parquet.read(columns=[*KEYS, "orientation"]).take(pa.array(task.rows))
    keys = zip(rows["image_id"].to_pylist(), rows["orientation"].to_pylist(), strict=True)
    numbers = np.array([expected(*key) for key in keys], np.float32)
    vectors = float_lists(np.repeat(numbers[:, None], FEATURES, axis=1))
    rows = rows.append_column("features", vectors)
    rows = rows.append_column("model_sha256", pa.array([plan.model_sha256] * len(numbers)))
    return write_file([rows.cast(MOBILENET_FEATURES)], folder, task.name, MOBILENET_FEATURES)
