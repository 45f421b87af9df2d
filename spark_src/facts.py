"""Small facts about what was written, read back from storage: what checks and the UI go by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

_VECTOR_FACTS = pa.schema(
    [(name, pa.int64()) for name in ("shortest", "longest", "not_finite", "nulls")]
    + [(name, pa.float64()) for name in ("smallest", "largest", "smallest_norm", "largest_norm")]
)


def table_facts(table: DataFrame) -> dict[str, Any]:
    """Rows of a table, and how many of each split and label where it has those columns."""
    facts: dict[str, Any] = {"rows": table.count()}
    for column in ("split", "label", "reason"):
        if column in table.columns:
            counts = table.groupBy(column).count().orderBy(column).collect()
            facts[f"{column}s"] = {row[column] or "": row["count"] for row in counts}
    return facts


def vector_facts(table: DataFrame, column: str) -> dict[str, Any]:
    """Lengths and values of a column of float lists, in one pass.

    Returns:
        `shortest` and `longest` list; `not_finite`: rows with NaN or infinity; `nulls`: rows
        without a list; `smallest` and `largest` value; the same of the rows' norms (L1): where
        they are equal, every picture got the same vector.
    """
    schema = from_arrow_schema(_VECTOR_FACTS)
    parts = table.select(column).mapInArrow(_describer(column), schema)
    whole = parts.agg(
        F.sum("not_finite").alias("not_finite"),
        F.sum("nulls").alias("nulls"),
        F.min("shortest").alias("shortest"),
        F.max("longest").alias("longest"),
        F.min("smallest").alias("smallest"),
        F.max("largest").alias("largest"),
        F.min("smallest_norm").alias("smallest_norm"),
        F.max("largest_norm").alias("largest_norm"),
    )
    return whole.first().asDict()  # type: ignore[union-attr]


def digests(table: DataFrame, column: str = "model") -> list[str]:
    """The different digests in a column, sorted."""
    return sorted(row[column] for row in table.select(column).distinct().collect())


def joint_digest(*digests: str) -> str:
    """The digest of something that is made of several things, and of nothing else."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _describer(column: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def describe(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield pa.RecordBatch.from_pylist(
                    [_facts_of(batch.column(column))], schema=_VECTOR_FACTS
                )

    return describe


def _facts_of(lists: pa.Array) -> dict[str, Any]:
    lengths = np.asarray(lists.drop_null().value_lengths())
    values = np.asarray(lists.flatten(), dtype=np.float64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    norms = np.bincount(rows, weights=np.abs(values), minlength=len(lengths))
    finite = values[np.isfinite(values)]
    finite_norms = norms[np.isfinite(norms)]
    return {
        "shortest": int(lengths.min()) if len(lengths) else None,
        "longest": int(lengths.max()) if len(lengths) else None,
        "not_finite": int((~np.isfinite(norms)).sum()),
        "nulls": lists.null_count,
        "smallest": float(finite.min()) if len(finite) else None,
        "largest": float(finite.max()) if len(finite) else None,
        "smallest_norm": float(finite_norms.min()) if len(finite_norms) else None,
        "largest_norm": float(finite_norms.max()) if len(finite_norms) else None,
    }
