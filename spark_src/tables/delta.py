"""The Delta tables of a storage: current versions, new changes, history, vacuum.

Workers write Parquet files into a table's folder; one commit makes them part of the table. An asset
that is a file (a model, the CSV) has a one-row table in `_current/` that names the file. Besides
this module only `opening`, `write` and `log` use Delta directly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from spark_src.errors import NothingStoredError
from spark_src.io.locations import Location
from spark_src.io.retries import repeat
from spark_src.tables.log import Commit
from spark_src.tables.opening import (
    delta_errors,
    find,
    open_table,
    prefix,
    read_snapshot,
    require_versions,
    table_commits,
)
from spark_src.tables.snapshot import (
    CURRENT,
    DataFile,
    Snapshot,
    is_table,
    schema_of,
    table_folder,
)
from spark_src.tables.write import TableWrite

__all__ = [
    "CURRENT",
    "DataFile",
    "Snapshot",
    "TableWrite",
    "Tables",
    "find",
    "is_table",
    "schema_of",
    "table_folder",
]

_LOG = "_delta_log"
_VACUUM_DAYS = 7  # as Delta's own


class Tables:
    """The assets under one root."""

    def __init__(self, root: Location) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"Tables({self.root})"

    def prefix(self, asset: str) -> Location:
        """The folder of one asset.

        Raises:
            StorageError: no asset has that name.
        """
        return prefix(self.root, asset)

    def find(self, asset: str) -> Snapshot | None:
        """The current version, or None if the asset was never materialized."""
        return find(asset, self.prefix(asset))

    def current(self, asset: str) -> Snapshot:
        """The current version.

        Raises:
            NothingStoredError: the asset was never materialized.
            UnreadableVersionError: a newer release or the first edition wrote it, or it is damaged.
        """
        snapshot = self.find(asset)
        if snapshot is None:
            raise NothingStoredError(
                f"{asset} has no current version under {self.prefix(asset)}. Create it with: "
                f"uv run dagster asset materialize --select '*{asset}'"
            )
        return snapshot

    def begin(self, asset: str, run_id: str, inputs: Sequence[Snapshot] = ()) -> TableWrite:
        """Start a change to an asset. Call it before reading any of the change's inputs.

        An erasure commits to every table. If it does so after this call, the commit of the change
        is rejected; if before, the change reads inputs without the erased data.

        Raises:
            ConcurrentWriteError: one of the inputs is no longer current.
        """
        location = self.prefix(asset)
        table = open_table(asset, location)
        before = None if table is None else read_snapshot(asset, location, table)
        versions = {used.asset: used.version for used in inputs}
        require_versions(self.root, versions, asset, run_id)
        return TableWrite(
            self.root, asset, run_id, before, versions, None if table is None else table.version()
        )

    def history(self, asset: str) -> list[Commit]:
        """Every commit in the log, the latest first."""
        return list(self.commits(asset))

    def commits(self, asset: str) -> Iterator[Commit]:
        """The commits as an iterator, the latest first; log entries are read on demand."""
        location = self.prefix(asset)
        table = open_table(asset, location)
        if table is not None:
            yield from table_commits(asset, location, table)

    def vacuum(self, asset: str) -> None:
        """Delete files that no version of the last seven days uses; keep those of the last two."""
        location = self.prefix(asset)

        def vacuum() -> None:
            table = open_table(asset, location)
            if table is None:
                return
            ours = list(islice(table_commits(asset, location, table), 2))
            # Between our last two commits there are only vacuums. Delta's version just before the
            # current commit therefore has the same files as our previous one, whose log entry may
            # be gone.
            kept = [table.version(), ours[0].version - 1][: len(ours)]
            table.vacuum(dry_run=False, full=True, keep_versions=kept)

        with delta_errors(asset, f"vacuuming {asset} under {location}"):
            repeat(vacuum)
        _delete_unfinished(table_folder(asset, location))

    def drop_history(self, asset: str) -> None:
        """Delete the log entries before the current version, for an erasure.

        The commit of a change that started earlier is rejected.
        """
        location = self.prefix(asset)
        table = open_table(asset, location)
        if table is None:
            return
        current = next(table_commits(asset, location, table)).version
        with delta_errors(asset, f"writing a checkpoint of {asset}"):
            table.create_checkpoint()
        # The latest first: an interruption leaves a gap, so the rest is not a readable log.
        for info in reversed((table_folder(asset, location) / _LOG).files()):
            number = info.base_name.split(".")[0]
            if number.isdigit() and int(number) < current:
                location.filesystem.delete_file(info.path)

    def delete(self, asset: str) -> None:
        """Delete an asset and its history. Commits of changes that started earlier are rejected."""
        location = self.prefix(asset)
        (table_folder(asset, location) / _LOG).delete_folder()
        location.delete_folder()


def _delete_unfinished(folder: Location) -> None:
    """Delete partial files of killed runs: Delta's vacuum keeps names that start with a dot.

    S3 has no partial objects.
    """
    if folder.scheme != "file":
        return
    limit = (time.time() - _VACUUM_DAYS * 24 * 60 * 60) * 1e9
    for info in folder.files():
        if info.base_name.startswith(".") and info.mtime_ns < limit:
            with suppress(FileNotFoundError):
                folder.filesystem.delete_file(info.path)
