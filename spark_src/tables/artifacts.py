"""Assets stored as files (models, the CSV): a one-row table names the current file."""

from __future__ import annotations

import time

import pyarrow as pa

from spark_src.io.locations import Location
from spark_src.tables.delta import CURRENT, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import ARTIFACT
from spark_src.tables.statistics import Statistics

KEPT_VERSIONS = 2

ORPHAN_DAYS = 7
"""The same retention as for unreferenced files in Delta tables."""


def commit_artifact(
    write: TableWrite, statistics: Statistics, note: str = "", code_version: str = ""
) -> Snapshot:
    """Make the files that the statistics name the current ones; they are already in the folder.

    Raises:
        ConcurrentWriteError: another run committed after this one started.
    """
    row = {"file": [statistics.files[0]], "details": [statistics.model_dump_json()]}
    file = write_file([pa.table(row, schema=ARTIFACT)], write.folder, new_name(0), ARTIFACT)
    before = [known.name for known in write.before.files] if write.before else []
    return write.commit(statistics, [file], before, note, code_version)


def clear_replaced(tables: Tables, asset: str) -> None:
    """Delete files that only versions before the last two reference, and those of killed runs.

    A file that no version references may belong to an active run: it is kept for `ORPHAN_DAYS`.
    """
    folder = tables.prefix(asset)
    newest = _newest_writes(folder)
    limit = time.time() - ORPHAN_DAYS * 24 * 60 * 60
    unknown = newest.keys() - {CURRENT}
    # The log grows with every refresh: stop reading once every file has been found in it.
    for number, commit in enumerate(tables.commits(asset)):
        referenced = unknown.intersection(commit.record.statistics.get("files", ()))
        unknown -= referenced
        if number >= KEPT_VERSIONS:
            for name in referenced:
                _delete(folder / name)
        if not unknown:
            return
    for name in unknown:
        if newest[name] < limit:
            _delete(folder / name)


def _newest_writes(folder: Location) -> dict[str, float]:
    """Top-level names in an asset's folder, with the time of the last write under each."""
    newest: dict[str, float] = {}
    for info in folder.files():
        name = folder.relative(info.path).split("/")[0]
        newest[name] = max(newest.get(name, 0.0), (info.mtime_ns or 0) / 1e9)
    return newest


def _delete(location: Location) -> None:
    if location.is_folder():
        location.delete_folder()
    elif location.exists():
        location.filesystem.delete_file(location.path)
