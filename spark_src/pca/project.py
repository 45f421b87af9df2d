"""Projects features onto the components of a PCA model, file by file. With Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Accumulator
from pyspark.sql import SparkSession

from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel
from spark_src.tables import registry
from spark_src.tables.audit import Audit, audit_files, require_valid, require_varied
from spark_src.tables.delta import DataFile, Snapshot
from spark_src.tables.parquet import open_parquet, run_tasks, write_file
from spark_src.tables.schemas import KEYS, PCA_COMPONENTS
from spark_src.tables.statistics import (
    ComponentsStatistics,
    FeaturesStatistics,
    VectorStatistics,
    joint_digest,
)
from spark_src.tables.vectors import FEATURES, float_lists, to_matrix

MAX_TASKS = 64

IMAGES_AT_ONCE = 512
"""Images per projection: 2.6 MB of features."""


@dataclass(frozen=True)
class Projection:
    """The component files to keep, to remove and to write."""

    features: Snapshot
    kept: tuple[DataFile, ...]
    removed: tuple[DataFile, ...]
    missing: tuple[tuple[Location, str], ...]
    """Pairs of a feature file and the name of its component file."""
    n_missing: int
    """Number of images in the missing files."""

    @property
    def is_empty(self) -> bool:
        """Whether the current version is up to date."""
        return not (self.missing or self.removed)


def plan_projection(features: Snapshot, digest: str, before: Snapshot | None) -> Projection:
    """Compare the feature files with the existing component files, by name.

    Args:
        features: the version of `mobilenet_features`.
        digest: the digest of the PCA model.
        before: the current version of `pca_components`.
    """
    wanted = {
        f"{file.name.removesuffix('.parquet')}.{digest[:12]}.parquet": file
        for file in features.files
    }
    known = before.files if before else ()
    kept = tuple(file for file in known if file.name in wanted)
    done = {file.name for file in kept}
    missing = {name: file for name, file in wanted.items() if name not in done}
    return Projection(
        features,
        kept,
        tuple(file for file in known if file.name not in wanted),
        tuple((features.file_location(file), name) for name, file in missing.items()),
        sum(file.rows for file in missing.values()),
    )


def project(
    spark: Callable[[], SparkSession],
    plan: Projection,
    pca: PcaModel,
    folder: Location,
    done: Callable[[], Accumulator[int]],
) -> tuple[list[DataFile], VectorStatistics]:
    """Compute and audit the missing components; the mean is subtracted.

    Returns:
        The new files, and statistics of their vectors.

    Raises:
        PcaError: a vector does not have 1,280 numbers.
        AuditError: rows are missing, or a vector has a wrong length or a NaN.
    """
    new: list[DataFile] = []
    found = Audit()
    if plan.missing:
        session = spark()
        new = run_tasks(session, plan.missing, _projector(pca, folder, done()), MAX_TASKS)
        files = [folder / file.name for file in new]
        found = audit_files(session, files, "pca", "pca_model")
    rows = sum(file.rows for file in plan.kept) + found.rows
    expected = plan.features.rows
    require_valid(registry.PCA_COMPONENTS, found, pca.n_components, pca.digest, rows, expected)
    return new, found.vectors


def statistics(
    plan: Projection, pca: PcaModel, before: Snapshot | None, vectors: VectorStatistics
) -> ComponentsStatistics:
    """Statistics of the new version of `pca_components`.

    Raises:
        AuditError: all images have the same vector.
    """
    if before is not None and plan.kept:
        vectors = before.typed(ComponentsStatistics).vectors.merged(vectors)
    require_varied(registry.PCA_COMPONENTS, vectors, plan.features.rows)
    features = plan.features.typed(FeaturesStatistics)
    return ComponentsStatistics(
        digest=joint_digest(features.digest, pca.digest),
        rows=plan.features.rows,
        pca_model=pca.digest,
        model_sha256=pca.model_sha256,
        n_components=pca.n_components,
        vectors=vectors,
        splits=features.splits,
        projected=plan.n_missing,
    )


def _projector(
    pca: PcaModel, folder: Location, done: Accumulator[int]
) -> Callable[[Iterable[tuple[Location, str]]], Iterator[DataFile]]:
    digest = pca.digest

    def project_files(items: Iterable[tuple[Location, str]]) -> Iterator[DataFile]:
        for source, name in items:
            with open_parquet(source) as parquet:
                batches = parquet.iter_batches(
                    IMAGES_AT_ONCE, columns=[*KEYS, "features"], use_threads=False
                )
                rows = (_projected(batch, pca, digest) for batch in batches)
                written = write_file(rows, folder, name, PCA_COMPONENTS)
            done.add(written.rows)
            yield written

    return project_files


def _projected(batch: pa.RecordBatch, pca: PcaModel, digest: str) -> pa.RecordBatch:
    features = to_matrix(batch.column("features"))
    # Always multiply matrices of the same shape: the last bit of the result may depend on it.
    padded = np.zeros((IMAGES_AT_ONCE, FEATURES), np.float32)
    padded[: len(features)] = features
    components = pca.project(padded)[: len(features)]
    columns = [*(batch.column(name) for name in KEYS), float_lists(components)]
    digests = pa.array([digest] * len(features))
    return pa.RecordBatch.from_arrays([*columns, digests], schema=PCA_COMPONENTS)
