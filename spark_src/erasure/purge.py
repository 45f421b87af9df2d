"""Deleting what is no part of a current version, and keeping every run that began before out."""

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
"""In the staging folder: the project's own code."""


def purge(tables: Tables, run_id: str) -> int:
    """Delete everything but the current versions; return how many files that were.

    Earlier versions, files that no commit has (of killed runs, of a first run that never committed,
    half-written ones), single pictures' features, staged CSV files, what travelled to a cluster,
    Spark's scratch, earlier entries of the logs, and in S3 earlier versions of all objects and
    parts of uploads that were never completed. Files that are newer than this call are left to the
    run that writes them: the scan looks into them.

    Raises:
        ConcurrentWriteError: a run committed meanwhile.
        ErasureError: a file cannot be deleted.
    """
    started, deleted = time.time(), 0
    fence(tables, run_id)  # before anything is deleted: no run may commit what is gone
    for asset in PREFIXES:
        deleted += _sweep(tables.prefix(asset), _current_names(tables.find(asset)), started)
        tables.drop_history(asset)
    deleted += _sweep(tables.root / FOLDERS["staging"], {_CODE}, started)
    deleted += _clear_scratch(tables.root / FOLDER)
    deleted += object_versions.abort_uploads(tables.root)
    return deleted + object_versions.delete_earlier(tables.root)


def fence(tables: Tables, run_id: str) -> None:
    """Commit every asset once more as it is: a run that began before is refused at its commit.

    An asset that does not exist gets no commit. A run that is making it for the first time is
    refused all the same where its inputs exist: they have other versions now.

    Raises:
        ConcurrentWriteError: a run committed meanwhile.
    """
    moved: dict[str, tuple[int, int]] = {}
    for asset in PREFIXES:  # inputs come before what is made of them
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
    artifacts = {place for name in snapshot.statistics.files for place in (name, f"{name}/")}
    return {f"{CURRENT}/{name}" for name in names} | artifacts | {LOGS[1]}


def _clear_scratch(folder: Location) -> int:
    """Delete what processes spilled that live no more; of another machine none is writing now."""
    if folder.scheme == "s3":
        return 0
    host, deleted = f"{socket.gethostname()}-", 0
    for entry in list(walk(folder)):
        is_living = entry.path.startswith(host) and is_in_use(entry.path)
        if entry.kind is Kind.FOLDER and "/" not in entry.path and not is_living:
            deleted += delete_tree(folder, [entry.raw])
    return deleted


def _sweep(folder: Location, kept: Collection[str], older_than: float) -> int:
    """Delete what lies in a folder, except files of these names and folders, and newer ones."""
    folders = tuple(name for name in kept if name.endswith("/"))
    deleted = 0
    for entry in walk(folder):
        if entry.kind not in {Kind.FILE, Kind.OTHER} or entry.changed > older_than:
            continue
        if entry.path not in kept and not entry.path.startswith(folders):
            entry.delete()
            deleted += 1
    return deleted
