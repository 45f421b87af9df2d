"""Assertions about files before their commit: a violation leaves the table unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from spark_src.errors import AuditError
from spark_src.io.locations import Location
from spark_src.tables.parquet import open_parquet, run_tasks
from spark_src.tables.statistics import VectorStatistics

MAX_TASKS = 64


@dataclass(frozen=True)
class Audit:
    """Statistics of files of vectors."""

    rows: int = 0
    vectors: VectorStatistics = field(default_factory=VectorStatistics)
    models: frozenset[str] = frozenset()
    """Digests found in the column that names the model."""

    def merged(self, other: Audit) -> Audit:
        """The audit of both sets of files together."""
        return Audit(
            self.rows + other.rows, self.vectors.merged(other.vectors), self.models | other.models
        )


def audit_files(
    spark: SparkSession, files: Sequence[Location], column: str, model_column: str
) -> Audit:
    """Read files of vectors back from storage.

    Args:
        spark: distributes the files over the workers.
        files: the files to read.
        column: the column of vectors.
        model_column: the column of model digests.
    """

    def audit(locations: Iterable[Location]) -> Iterator[Audit]:
        total = Audit()
        for location in locations:
            with open_parquet(location, verify=True) as parquet:
                columns = [column, model_column]
                for batch in parquet.iter_batches(columns=columns, use_threads=False):
                    total = total.merged(_audit_batch(batch))
        yield total

    total = Audit()
    for part in run_tasks(spark, files, audit, MAX_TASKS):
        total = total.merged(part)
    return total


def require_valid(  # noqa: PLR0913, PLR0917 - found and expected values
    asset: str, found: Audit, length: int, model: str, rows: int, expected_rows: int
) -> None:
    """Reject files that would fail a blocking check.

    Args:
        asset: the table.
        found: the audit of the new files.
        length: the expected length of each vector.
        model: the model digest expected in each row.
        rows: the number of rows in the new version.
        expected_rows: the number of rows in the input asset.

    Raises:
        AuditError: one of the assertions fails.
    """
    lost = (
        []
        if rows == expected_rows
        else [f"{rows:,} rows were written, {expected_rows:,} were expected"]
    )
    faults = lost + find_faults(found, length, model)
    if faults:
        raise AuditError(
            f"{asset}: {'; '.join(faults)}. Nothing was committed, and the previous version is "
            f"still current. Materialize {asset} again; if that does not help, its input is "
            "damaged."
        )


def require_varied(asset: str, vectors: VectorStatistics, rows: int) -> None:
    """Reject a version in which every image has the same vector, a sign of a broken model.

    Args:
        asset: the table.
        vectors: statistics of all vectors in the new version.
        rows: the number of rows in the new version.

    Raises:
        AuditError: all vectors have the same norm.
    """
    if rows > 1 and vectors.smallest_norm == vectors.largest_norm:
        raise AuditError(
            f"{asset}: all {rows:,} images have the same vector. Nothing was committed, and "
            "the previous version is still current. If the pictures differ, the model is damaged: "
            "materialize mobilenet_model again."
        )


def find_faults(found: Audit, length: int, model: str) -> list[str]:
    """Describe each fault of the vectors in a few words.

    Args:
        found: the audit of the files.
        length: the expected length of each vector.
        model: the model digest expected in each row.
    """
    vectors = found.vectors
    faults = [
        (vectors.nulls, f"rows without a vector: {vectors.nulls:,}"),
        (vectors.not_finite, f"rows with NaN or infinity: {vectors.not_finite:,}"),
        (
            {vectors.shortest, vectors.longest} - {None, length},
            f"vectors have {vectors.shortest} to {vectors.longest} numbers, not {length:,}",
        ),
        (
            found.models - {model},
            f"rows name {len(found.models):,} models, but only {model[:12]} is expected",
        ),
    ]
    return [text for fault, text in faults if fault]


def _audit_batch(batch: pa.RecordBatch) -> Audit:
    lists, models = batch.columns
    digests = frozenset(str(value) for value in pc.unique(models).to_pylist())
    return Audit(batch.num_rows, vector_statistics(lists), digests)


def vector_statistics(lists: pa.Array) -> VectorStatistics:
    """Lengths and values of a column of lists of floats; norms are L1."""
    lengths = np.asarray(lists.drop_null().value_lengths())
    values = np.asarray(lists.flatten(), dtype=np.float64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    norms = np.bincount(rows, weights=np.abs(values), minlength=len(lengths))
    finite = values[np.isfinite(values)]
    finite_norms = norms[np.isfinite(norms)]
    return VectorStatistics(
        nulls=lists.null_count,
        not_finite=int((~np.isfinite(norms)).sum()),
        shortest=int(lengths.min()) if len(lengths) else None,
        longest=int(lengths.max()) if len(lengths) else None,
        smallest=float(finite.min()) if len(finite) else None,
        largest=float(finite.max()) if len(finite) else None,
        smallest_norm=float(finite_norms.min()) if len(finite_norms) else None,
        largest_norm=float(finite_norms.max()) if len(finite_norms) else None,
    )
