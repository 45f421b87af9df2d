"""Stores `embedding_quality` as a small JSON file named by its digest."""

from __future__ import annotations

import json

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.quality import Quality
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.statistics import QualityStatistics


def save(quality: Quality, folder: Location, digest: str) -> QualityStatistics:
    """Write the file; return the statistics for the commit."""
    name = f"quality-{digest[:16]}.json"
    write_whole(folder / name, json.dumps(quality.record(), indent=2).encode())
    return QualityStatistics(
        digest=digest, rows=len(quality.answers), files=(name,), compared=quality.sampled
    )


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored file is up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (write.location / before.statistics.files[0]).exists()


def load(snapshot: Snapshot) -> Quality:
    """Read a version of `embedding_quality`.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = snapshot.location / snapshot.statistics.files[0]
    try:
        return Quality.from_record(json.loads(file.read()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Delete it, and recompute it with: "
            "uv run dagster asset materialize --select embedding_quality"
        ) from error
