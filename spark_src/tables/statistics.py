"""Small facts about what was written, read back from storage: what checks and the UI go by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from spark_src.io.locations import Location
from spark_src.tables.vector_files import Block, blocks_of, in_tasks

_MERGED: dict[str, Callable[[list[Any]], Any]] = {
    "not_finite": sum,
    "nulls": sum,
    "shortest": min,
    "longest": max,
    "smallest": min,
    "largest": max,
    "smallest_norm": min,
    "largest_norm": max,
}
"""How the facts of parts become those of the whole."""


def table_facts(table: DataFrame) -> dict[str, Any]:
    """Rows of a table, and how many of each split and label where it has those columns."""
    facts: dict[str, Any] = {"rows": table.count()}
    for column in ("split", "label", "reason"):
        if column in table.columns:
            counts = table.groupBy(column).count().orderBy(column).collect()
            facts[f"{column}s"] = {row[column] or "": row["count"] for row in counts}
    return facts


def most_images(facts: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """`measured`: seconds, images and cores of this run, or of an earlier one with more images.

    An unchanged input takes seconds for no image: what an image takes is known from before.
    """
    now = {name: facts[name] for name in ("seconds", "images", "cores") if name in facts}
    known = [now, earlier.get("measured", {})]
    return {"measured": max(known, key=lambda measure: measure.get("images", 0))}


def vector_facts(spark: SparkSession, folder: Location, column: str) -> dict[str, Any]:
    """Lengths and values of a column of float lists in a folder of Parquet files, in one pass.

    Returns:
        `shortest` and `longest` list; `not_finite`: rows with NaN or infinity; `nulls`: rows
        without a list; `smallest` and `largest` value; the same of the rows' norms (L1): where
        they are equal, every picture got the same vector.
    """

    def describe(blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
        for block in blocks:
            for batch in block.read([column]):
                yield _facts_of(batch.column(column))

    parts = in_tasks(spark, blocks_of(folder), describe)
    return {name: _merged(how, [part[name] for part in parts]) for name, how in _MERGED.items()}


def digests(table: DataFrame, column: str = "model") -> list[str]:
    """The different digests in a column, sorted."""
    return sorted(row[column] for row in table.select(column).distinct().collect())


def joint_digest(*digests: str) -> str:
    """The digest of something that is made of several things, and of nothing else."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _merged(how: Callable[[list[Any]], Any], values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return how(known) if known else None


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
