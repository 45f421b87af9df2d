"""Deletes all files outside current versions, and keeps earlier runs from committing."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from dataclasses import replace

from spark_src.contract import FOLDERS, PREFIXES
from spark_src.erasure.files import Kind, delete_tree, walk
from spark_src.erasure.rows import LOGS, NOTE
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.spark.scratch import FOLDER, is_in_use
from spark_src.tables.delta import CURRENT, Snapshot, Tables, is_table

_CODE = "code/"
"""The project's code in the staging folder, which is kept."""


def purge(tables: Tables, run_id: str) -> int:
    """Delete everything but the current versions; return the number of deleted files.

    Deletes earlier versions, uncommitted files, feature checkpoints, staged CSV files, files staged
    for a cluster, Spark's scratch files and earlier log entries. In S3, it also deletes earlier
    object versions and incomplete uploads. Files newer than this call are kept for the run that
    writes them; the final scan reads them.

    Raises:
        ConcurrentWriteError: a run committed in the meantime.
        ErasureError: a file cannot be deleted.
    """
    started, deleted = time.time(), 0
    fence(tables, run_id)  # first, so that no run commits deleted files
    for asset in PREFIXES:
        deleted += _sweep(tables.prefix(asset), _current_names(tables.find(asset)), started)
        tables.drop_history(asset)
    deleted += _sweep(tables.root / FOLDERS["staging"], {_CODE}, started)
    deleted += _clear_scratch(tables.root / FOLDER)
    deleted += object_versions.abort_uploads(tables.root)
    return deleted + object_versions.delete_earlier(tables.root)


def fence(tables: Tables, run_id: str) -> None:
    """Commit every asset again unchanged, so that runs that started before cannot commit.

    An asset that does not exist gets no commit. Its first run is rejected nevertheless if its
    inputs exist, because their versions have changed.

    Raises:
        ConcurrentWriteError: a run committed in the meantime.
    """
    moved: dict[str, tuple[int, int]] = {}
    for asset in PREFIXES:  # in dependency order
        write = tables.begin(asset, run_id)
        if write.before is None:
            continue
        inputs = {
            name: moved[name][1] if version == moved.get(name, (None,))[0] else version
            for name, version in write.before.record.inputs.items()
        }
        after = replace(write, inputs=inputs).commit(write.before.statistics, note=NOTE)
        moved[asset] = (write.before.version, after.version)


def _current_names(snapshot: Snapshot | None) -> set[str]:
    """Files and folders of an asset's current version, relative to its folder."""
    if snapshot is None:
        return set()
    names = {file.name for file in snapshot.files}
    if is_table(snapshot.asset):
        return {*names, LOGS[0]}
    artifacts = {path for name in snapshot.statistics.files for path in (name, f"{name}/")}
    return {f"{CURRENT}/{name}" for name in names} | artifacts | {LOGS[1]}


def _clear_scratch(folder: Location) -> int:
    """Delete spill files of processes that have ended. No other machine is writing now."""
    if folder.scheme == "s3":
        return 0
    host, deleted = f"{socket.gethostname()}-", 0
    for entry in list(walk(folder)):
        is_active = entry.path.startswith(host) and is_in_use(entry.path)
        if entry.kind is Kind.FOLDER and "/" not in entry.path and not is_active:
            deleted += delete_tree(folder, [entry.raw])
    return deleted


def _sweep(folder: Location, kept: Collection[str], older_than: float) -> int:
    """Delete the files in a folder, except kept names, kept folders and newer files."""
    folders = tuple(name for name in kept if name.endswith("/"))
    deleted = 0
    for entry in walk(folder):
        if entry.kind not in {Kind.FILE, Kind.OTHER} or entry.changed > older_than:
            continue
        if entry.path not in kept and not entry.path.startswith(folders):
            entry.delete()
            deleted += 1
    return deleted
