"""Assets that are a file and no table (models, the CSV): named by a table of one row."""

from __future__ import annotations

import time

import pyarrow as pa

from spark_src.io.locations import Location
from spark_src.tables.delta import CURRENT, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import ARTIFACT
from spark_src.tables.statistics import Statistics

ORPHAN_DAYS = 7
"""As long as Delta keeps files that no version has."""


def commit_artifact(
    write: TableWrite, statistics: Statistics, note: str = "", code_version: str = ""
) -> Snapshot:
    """Make files that lie in the asset's folder current: those that the statistics name.

    Raises:
        ConcurrentWriteError: another run committed since this one began.
    """
    row = {"file": [statistics.files[0]], "details": [statistics.model_dump_json()]}
    file = write_file([pa.table(row, schema=ARTIFACT)], write.folder, new_name(0), ARTIFACT)
    before = [known.name for known in write.before.files] if write.before else []
    return write.commit(statistics, [file], before, note, code_version)


def clear_replaced(tables: Tables, asset: str) -> None:
    """Delete the files that only versions before the last two name, and what dead runs left.

    A file that no version names may be a living run's: it stays for `ORPHAN_DAYS`.
    """
    history = [record.statistics.get("files", ()) for _, _, record in tables.history(asset)]
    kept = {name for names in history[:2] for name in names} | {CURRENT}
    replaced = {name for names in history[2:] for name in names} - kept
    for name in replaced | (_orphans(tables.prefix(asset)) - kept):
        _delete(tables.prefix(asset) / name)


def _orphans(folder: Location) -> set[str]:
    """Names in an asset's folder of which nothing was written for days."""
    newest: dict[str, float] = {}
    for info in folder.files():
        name = folder.relative(info.path).split("/")[0]
        newest[name] = max(newest.get(name, 0.0), (info.mtime_ns or 0) / 1e9)
    limit = time.time() - ORPHAN_DAYS * 24 * 60 * 60
    return {name for name, modified in newest.items() if modified < limit}


def _delete(place: Location) -> None:
    if place.is_folder():
        place.delete_folder()
    elif place.exists():
        place.filesystem.delete_file(place.path)
