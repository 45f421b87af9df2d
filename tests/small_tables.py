"""`raw_images` tables with a few fake pictures, written like the asset does, without Spark."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa

from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import new_name, read_columns, write_file
from spark_src.tables.schemas import RAW_IMAGES
from spark_src.tables.statistics import RawImagesStatistics

ASSET = "raw_images"


def digest_of(text: str) -> str:
    """A fake picture id of 64 digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def picture_rows(paths: Iterable[str]) -> pa.Table:
    """One row per path."""
    rows = [
        {
            "image_id": digest_of(path),
            "path": path,
            "split": "Training",
            "label": path.split("/")[0],
            "content": path.encode(),
            "width": 100,
            "height": 100,
            "orientation": 1,
            "source_bytes": len(path),
            "source_modified": datetime(2024, 1, 1, tzinfo=UTC),
        }
        for path in paths
    ]
    return pa.Table.from_pylist(rows, schema=RAW_IMAGES)


def statistics_of(paths: Iterable[str]) -> RawImagesStatistics:
    """The statistics of a version with these rows."""
    known = sorted(paths)
    return RawImagesStatistics(
        digest=digest_of("\n".join(["rows", *known])),
        rows=len(known),
        input="/input",
        fingerprint="limits",
        n_listed=len(known),
        rejected=0,
        splits={"Training": len(known)},
        labels=Counter(path.split("/")[0] for path in known),
    )


def write_rows(write: TableWrite, *paths: str) -> DataFile:
    """Write an uncommitted file of the table with these rows."""
    return write_file([picture_rows(paths)], write.folder, new_name(0), RAW_IMAGES)


def commit_rows(write: TableWrite, *paths: str, remove: Iterable[str] = ()) -> Snapshot:
    """Commit a file with these rows, and remove those files."""
    gone = set(remove)
    kept = [file for file in (write.before.files if write.before else ()) if file.name not in gone]
    rows = {*paths}
    if write.before is not None:
        rows |= set(paths_of([write.before.file_location(file) for file in kept]))
    new = [write_rows(write, *paths)] if paths else []
    return write.commit(statistics_of(rows), new, sorted(gone))


def add(tables: Tables, run_id: str, *paths: str, remove: Iterable[str] = ()) -> Snapshot:
    """A complete run: begin, write, commit."""
    return commit_rows(tables.begin(ASSET, run_id), *paths, remove=remove)


def paths_of(files: Snapshot | list) -> list[str]:
    """The paths in the rows of a version, or of files."""
    locations = files.locations if isinstance(files, Snapshot) else files
    table = read_columns(locations, ["path"])
    return sorted(table["path"].to_pylist()) if table.num_columns else []
