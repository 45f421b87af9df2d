"""Computes the planned features, and audits the files before their commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Accumulator, Broadcast
from pyspark.sql import SparkSession

from spark_src.errors import AuditError
from spark_src.features.inference import compute_features, worker_engine
from spark_src.features.interrupted import STAGED
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import Assembly, Computation, FeaturesPlan
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.tables import registry
from spark_src.tables.audit import (
    Audit,
    audit_files,
    find_faults,
    require_valid,
    require_varied,
)
from spark_src.tables.delta import DataFile, TableWrite
from spark_src.tables.parquet import (
    ROWS_PER_BLOCK,
    discard,
    open_parquet,
    run_tasks,
    write_file,
)
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES
from spark_src.tables.statistics import (
    FeaturesStatistics,
    RawImagesStatistics,
    VectorStatistics,
    joint_digest,
)
from spark_src.tables.vectors import FEATURES, float_lists, to_matrix

PICTURES_AT_ONCE = 32
"""Pictures that a worker holds in memory; a phone's picture has 3 MB."""


def compute(
    spark: Callable[[], SparkSession],
    plan: FeaturesPlan,
    model: MobilenetModel,
    folder: Location,
    done: Callable[[], Accumulator[int]],
) -> list[DataFile]:
    """Compute the missing features and write them into the table's folder, without a commit.

    Args:
        spark: starts Spark; not called if there is nothing to compute.
        plan: the plan from `plan_features`.
        model: the model that the plan was made for.
        folder: the table's folder.
        done: creates the counter of pictures; called after Spark has started.

    Returns:
        The new files of the table, without the adopted ones.
    """
    if not plan.computations and not plan.assemblies:
        return []
    session = spark()
    content = session.sparkContext.broadcast(model.content)
    try:
        work = _computer(content, model.sha256, folder, done())
        computed = run_tasks(session, plan.computations, work)
        assembled = run_tasks(session, plan.assemblies, _assembler(model.sha256, folder))
    finally:
        content.unpersist()
    return [file for file in computed if "/" not in file.name] + assembled


def audit(
    spark: Callable[[], SparkSession], plan: FeaturesPlan, new: list[DataFile], write: TableWrite
) -> VectorStatistics:
    """Audit the files of the new version by reading them back.

    Invalid files are deleted, so that a later run does not adopt them.

    Returns:
        Statistics of the vectors of the whole new version.

    Raises:
        AuditError: rows are missing, a vector has a wrong length, another model or a NaN, or
            all images have the same vector.
    """
    folder = write.folder
    found = Audit()
    for added in (plan.adopted, new):
        if not added:
            continue
        files = [folder / file.name for file in added]
        part = audit_files(spark(), files, "features", "model_sha256")
        if find_faults(part, FEATURES, plan.model_sha256):
            discard(folder, added)
        found = found.merged(part)
    rows = sum(file.rows for file in plan.kept) + found.rows
    require_valid(
        registry.MOBILENET_FEATURES, found, FEATURES, plan.model_sha256, rows, plan.images.rows
    )
    vectors = found.vectors
    if write.before is not None and plan.kept:
        vectors = write.before.typed(FeaturesStatistics).vectors.merged(vectors)
    try:
        require_varied(registry.MOBILENET_FEATURES, vectors, rows)
    except AuditError:
        discard(folder, (*plan.adopted, *new))
        raise
    return vectors


def statistics(plan: FeaturesPlan, vectors: VectorStatistics) -> FeaturesStatistics:
    """Statistics of the new version of `mobilenet_features`; `vectors` covers the whole version."""
    images = plan.images.typed(RawImagesStatistics)
    return FeaturesStatistics(
        digest=joint_digest(images.digest, plan.model_sha256, PIXELS),
        rows=plan.images.rows,
        model_sha256=plan.model_sha256,
        preprocessing=PIXELS,
        vectors=vectors,
        splits=images.splits,
        computed=plan.n_computed,
        carried_over=plan.carried_over,
        resumed=plan.resumed,
    )


def clear_staged(write: TableWrite) -> None:
    """Delete the staged features of single pictures; committed files contain them."""
    (write.folder / STAGED).delete_folder()


def _computer(
    model: Broadcast[bytes], model_sha256: str, folder: Location, done: Accumulator[int]
) -> Callable[[Iterable[Computation]], Iterator[DataFile]]:
    def compute_files(tasks: Iterable[Computation]) -> Iterator[DataFile]:
        engine = worker_engine(model, model_sha256)
        for task in tasks:
            batches = []
            for pictures in _pictures(task):
                batches.append(_rows(pictures, compute_features(pictures, engine), model_sha256))
                done.add(pictures.num_rows)
            yield write_file(batches, folder, task.name, MOBILENET_FEATURES)

    return compute_files


def _pictures(task: Computation) -> Iterator[pa.RecordBatch]:
    columns, start = [*KEYS, "orientation", "content"], 0
    with open_parquet(task.source) as parquet:
        for batch in parquet.iter_batches(PICTURES_AT_ONCE, columns=columns, use_threads=False):
            end = start + batch.num_rows
            first, last = np.searchsorted(task.rows, [start, end])
            wanted = task.rows[first:last] - start
            start = end
            if len(wanted) == batch.num_rows:
                yield batch
            elif len(wanted):
                yield batch.take(pa.array(wanted))


def _assembler(
    model_sha256: str, folder: Location
) -> Callable[[Iterable[Assembly]], Iterator[DataFile]]:
    def assemble(tasks: Iterable[Assembly]) -> Iterator[DataFile]:
        for task in tasks:
            with open_parquet(task.source) as parquet:
                keys = parquet.read(columns=[*KEYS, "orientation"], use_threads=False)
            batch = keys.combine_chunks().to_batches()[0]
            rows = _rows(batch, _gathered(task), model_sha256)
            yield write_file([rows], folder, task.name, MOBILENET_FEATURES)

    return assemble


def _gathered(task: Assembly) -> NDArray[np.float32]:
    """The vectors of a file's rows, read from their files with checksums: (n, 1280)."""
    gathered = np.empty((len(task.rows), FEATURES), np.float32)
    for number, location in enumerate(task.vectors):
        mine, start = task.files == number, 0
        with open_parquet(location, verify=True) as parquet:
            # Read in batches: another program may have compacted the table into one large file.
            for batch in parquet.iter_batches(
                ROWS_PER_BLOCK, columns=["features"], use_threads=False
            ):
                end = start + batch.num_rows
                here = np.flatnonzero(mine & (task.rows >= start) & (task.rows < end))
                if len(here):
                    column = batch.column("features").take(pa.array(task.rows[here] - start))
                    gathered[here] = to_matrix(column)
                start = end
    return gathered


def _rows(keys: pa.RecordBatch, features: NDArray[np.float32], model_sha256: str) -> pa.RecordBatch:
    columns: dict[str, Any] = {name: keys[name] for name in (*KEYS, "orientation")}
    columns["features"] = float_lists(features)
    columns["model_sha256"] = pa.array([model_sha256] * len(features))
    return pa.RecordBatch.from_pydict(columns, schema=MOBILENET_FEATURES)
