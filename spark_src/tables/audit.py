"""What is asserted of files before they are committed: a violation leaves the table as it was."""

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
    """What files of vectors hold."""

    rows: int = 0
    vectors: VectorStatistics = field(default_factory=VectorStatistics)
    models: frozenset[str] = frozenset()
    """Digests in the column that names what made the vectors."""

    def merged(self, other: Audit) -> Audit:
        """That of both together."""
        return Audit(
            self.rows + other.rows, self.vectors.merged(other.vectors), self.models | other.models
        )


def audit_files(
    spark: SparkSession, files: Sequence[Location], column: str, model_column: str
) -> Audit:
    """Read files of vectors back.

    Args:
        spark: shares out the files.
        files: which ones.
        column: of lists of floats.
        model_column: of digests.
    """

    def audit(locations: Iterable[Location]) -> Iterator[Audit]:
        total = Audit()
        for location in locations:
            with open_parquet(location, verify=True) as parquet:
                columns = [column, model_column]
                for batch in parquet.iter_batches(columns=columns, use_threads=False):
                    total = total.merged(_audit_of(batch))
        yield total

    total = Audit()
    for part in run_tasks(spark, files, audit, MAX_TASKS):
        total = total.merged(part)
    return total


def require_sound(  # noqa: PLR0913, PLR0917 - what is compared with what
    asset: str, found: Audit, length: int, model: str, rows: int, expected_rows: int
) -> None:
    """Refuse files that a blocking check would refuse.

    Args:
        asset: the table.
        found: what the new files hold.
        length: of each vector.
        model: the digest that each row has to name.
        rows: of the new version.
        expected_rows: of the asset that it is made from.

    Raises:
        AuditError: one of the assertions does not hold.
    """
    lost = [] if rows == expected_rows else [f"{rows:,} rows were made of {expected_rows:,}"]
    said = lost + faults_of(found, length, model)
    if said:
        raise AuditError(
            f"{asset}: {'; '.join(said)}. Nothing was committed, and the version before is still "
            f"current. Materialize {asset} again; if that does not help, what it is made of is "
            "damaged."
        )


def require_varied(asset: str, vectors: VectorStatistics, rows: int) -> None:
    """Refuse a version in which each image has the same vector, as a broken model makes them.

    Args:
        asset: the table.
        vectors: of the whole new version.
        rows: of the new version.

    Raises:
        AuditError: all vectors have the same norm.
    """
    if rows > 1 and vectors.smallest_norm == vectors.largest_norm:
        raise AuditError(
            f"{asset}: each of {rows:,} images has the same vector. Nothing was committed, and "
            "the previous version is still current. If the pictures differ, the model is damaged: "
            "materialize mobilenet_model again."
        )


def faults_of(found: Audit, length: int, model: str) -> list[str]:
    """What is wrong with the vectors of files, each in a few words.

    Args:
        found: what the files hold.
        length: of each vector.
        model: the digest that each row has to name.
    """
    vectors = found.vectors
    faults = [
        (vectors.nulls, f"{vectors.nulls:,} rows have no vector"),
        (vectors.not_finite, f"{vectors.not_finite:,} rows have NaN or infinity"),
        (
            {vectors.shortest, vectors.longest} - {None, length},
            f"vectors have {vectors.shortest} to {vectors.longest} numbers, not {length:,}",
        ),
        (
            found.models - {model},
            f"rows name {len(found.models):,} models, or another than {model[:12]}",
        ),
    ]
    return [text for fault, text in faults if fault]


def _audit_of(batch: pa.RecordBatch) -> Audit:
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
