"""Ingest and features without Dagster: plan, compute, audit, commit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import Accumulator
from pyspark.sql import SparkSession

from spark_src.features import incremental
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import FeaturesPlan, plan_features
from spark_src.images.listing import Listing, list_files
from spark_src.images.plan import IngestPlan, plan_ingest
from spark_src.images.refresh import (
    raw_change,
    read_new,
    rejected_change,
    rejected_table,
)
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables, schema_of
from spark_src.tables.parquet import open_parquet


@dataclass(frozen=True)
class Ingest:
    """The plan and commits of one ingest run."""

    plan: IngestPlan
    raw: Snapshot
    rejected: Snapshot
    unchanged: bool
    """Whether the run committed to neither table."""


def tables_in(folder: Path) -> Tables:
    """The tables of a storage folder."""
    return Tables(Location.parse(str(folder)))


def table_of(snapshot: Snapshot) -> pa.Table:
    """A version's rows, in the order of its files."""
    schema, tables = schema_of(snapshot.asset), []
    for location in snapshot.locations:
        with open_parquet(location, verify=True) as parquet:
            tables.append(parquet.read().cast(schema))
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def rows_by_path(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """A version's rows by path; paths have to be unique."""
    rows = table_of(snapshot).to_pylist()
    found = {row["path"]: row for row in rows}
    if len(found) != len(rows):
        raise AssertionError(f"{snapshot.asset} has a path more than once")
    return found


def ingest(
    spark: SparkSession,
    tables: Tables,
    source: Path | str | Listing,
    limits: Limits | None = None,
    run_id: str = "run-1",
    done: Accumulator[int] | None = None,
) -> Ingest:
    """Bring both tables up to date with an input.

    Args:
        spark: the session.
        tables: the storage.
        source: the input, or its listing.
        limits: the size limits.
        run_id: the run that commits.
        done: counts the files read.
    """
    started = time.monotonic()
    rejected, raw = (tables.begin(name, run_id) for name in ("rejected_images", "raw_images"))
    listing = source if isinstance(source, Listing) else list_files(Location.parse(str(source)))
    plan = plan_ingest(listing, limits or Limits(), raw.before, rejected.before)
    counter = spark.sparkContext.accumulator(0) if done is None else done
    result = read_new(lambda: spark, plan, raw, lambda: counter)
    rows = rejected_table(plan, result)
    changes = [
        rejected_change(plan, rejected, rows, started),
        raw_change(plan, result, raw, rows.num_rows, started),
    ]
    ledger, pictures = (change.commit() for change in changes)
    return Ingest(plan, pictures, ledger, all(change.is_empty for change in changes))


def featurize(
    spark: SparkSession,
    tables: Tables,
    images: Snapshot,
    model: MobilenetModel,
    recompute: bool = False,
    run_id: str = "run-1",
) -> tuple[FeaturesPlan, Snapshot]:
    """Bring `mobilenet_features` up to date with a version of `raw_images`.

    Args:
        spark: the session.
        tables: the storage.
        images: the version.
        model: the model to apply.
        recompute: do not reuse existing features.
        run_id: of the run that commits.
    """
    write = tables.begin("mobilenet_features", run_id, [images])
    plan = plan_features(write, images, model.sha256, recompute)
    if plan.is_empty and write.before is not None:
        return plan, Change.none(write).commit()
    counter = spark.sparkContext.accumulator(0)
    new = incremental.compute(lambda: spark, plan, model, write.folder, lambda: counter)
    vectors = incremental.audit(lambda: spark, plan, new, write)
    found = incremental.statistics(plan, vectors)
    gone = tuple(file.name for file in plan.removed)
    change = Change(
        write,
        found,
        (*plan.adopted, *new),
        gone,
        cleanup=lambda: incremental.clear_staged(write),
    )
    return plan, change.commit()
