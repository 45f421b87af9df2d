"""A storage with synthetic vectors: features and PCA as in their assets, without Dagster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.pca import fit, project
from spark_src.pca.model import PcaModel
from spark_src.pca.refit import FitSettings
from spark_src.tables.audit import vector_statistics
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.parquet import read_columns, write_file
from spark_src.tables.schemas import MOBILENET_FEATURES
from spark_src.tables.statistics import FeaturesStatistics
from spark_src.tables.vectors import FEATURES
from tests.pipeline import tables_in

Row = dict[str, Any]

FIVE = FitSettings(n_components=5, min_explained_variance=0.1)


def image(number: int, split: str | None = "Training", **columns: Any) -> Row:
    """The image with this number; its features are deterministic."""
    name = f"{split}/{number:04}.jpg"
    features = np.random.default_rng([number, 7]).random(FEATURES, np.float32)
    return {"image_id": f"id {name}", "path": name, "split": split, "features": features} | columns


def images(numbers: Iterable[int], split: str | None = "Training", **columns: Any) -> list[Row]:
    """The images with these numbers."""
    return [image(number, split, **columns) for number in numbers]


def features_of(rows: Iterable[Row]) -> NDArray[np.float64]:
    """The features of the images as a matrix."""
    return np.array([row["features"] for row in rows], np.float64)


def table_of(rows: Iterable[Row], model_sha256: str = "digest") -> pa.Table:
    """Rows of `mobilenet_features`; columns that are left out are null."""
    common = {"orientation": 1, "model_sha256": model_sha256}
    return pa.Table.from_pylist([common | row for row in rows], schema=MOBILENET_FEATURES)


def fitted(
    spark: SparkSession, features: Snapshot, n_components: int = 5, share: float = 0.9
) -> PcaModel:
    """PCA fitted on a version of `mobilenet_features`."""
    settings = FitSettings(n_components, share)
    return fit.fit_or_keep(lambda: spark, features, None, settings).model


def project_all(
    spark: SparkSession, features: Snapshot, pca: PcaModel, folder: Location
) -> list[Location]:
    """The component files for a version of `mobilenet_features`, in a folder."""
    plan = project.plan_projection(features, pca.digest, None)
    counter = spark.sparkContext.accumulator(0)
    new, _ = project.project(lambda: spark, plan, pca, folder, lambda: counter)
    return [folder / file.name for file in new]


@dataclass(frozen=True)
class VectorStorage:
    """A storage whose feature files are added and removed, and whose PCA is then refreshed."""

    spark: SparkSession
    tables: Tables

    @classmethod
    def in_folder(cls, spark: SparkSession, folder: Path) -> VectorStorage:
        """A storage in a new or existing folder."""
        return cls(spark, tables_in(folder))

    def features(
        self,
        add: Mapping[str, Sequence[Row]],
        remove: Sequence[str] = (),
        model_sha256: str = "digest",
    ) -> Snapshot:
        """Commit feature files, named without the extension, and remove others."""
        write = self.tables.begin("mobilenet_features", "run")
        gone = {f"{name}.parquet" for name in remove}
        before = write.before.files if write.before else ()
        kept = [file for file in before if file.name not in gone]
        new = [
            write_file(
                [table_of(rows, model_sha256)], write.folder, f"{name}.parquet", MOBILENET_FEATURES
            )
            for name, rows in add.items()
        ]
        files = [write.folder / file.name for file in (*kept, *new)]
        stored = read_columns(files, ["split", "features"])
        found = FeaturesStatistics(
            digest=" ".join(sorted(file.name for file in (*kept, *new))),
            rows=stored.num_rows,
            model_sha256=model_sha256,
            preprocessing=PIXELS,
            vectors=vector_statistics(stored["features"].combine_chunks()),
            splits=dict(Counter(split or "" for split in stored["split"].to_pylist())),
        )
        return write.commit(found, new, sorted(gone))

    def refresh_pca(
        self, settings: FitSettings = FIVE, erased: bool = False
    ) -> tuple[fit.Fit, Snapshot]:
        """Fit or keep the model, and commit it with the sums of the current images."""
        features = self.tables.current("mobilenet_features")
        write = self.tables.begin("pca_model", "run", [features])
        found = fit.fit_or_keep(lambda: self.spark, features, write.before, settings, erased)
        sums = fit.save(lambda: self.spark, found, write, features)
        statistics = fit.statistics(found, sums, write.before, settings)
        return found, Change(write, statistics, note=found.description).commit()

    def refresh_components(self) -> Snapshot:
        """Project the images without components of the current model."""
        features, model = map(self.tables.current, ("mobilenet_features", "pca_model"))
        write = self.tables.begin("pca_components", "run", [features, model])
        plan = project.plan_projection(features, model.statistics.digest, write.before)
        if plan.is_empty and write.before is not None:
            return Change.none(write).commit()
        pca, counter = fit.load_current(model), self.spark.sparkContext.accumulator(0)
        new, vectors = project.project(lambda: self.spark, plan, pca, write.folder, lambda: counter)
        statistics = project.statistics(plan, pca, write.before, vectors)
        gone = tuple(file.name for file in plan.removed)
        return Change(write, statistics, tuple(new), gone).commit()
