"""The tables under a storage: what is current, changes that begin, history, vacuum.

Workers write Parquet files into a table's folder; one commit makes them part of it. An asset that
is a file and no table (a model, the CSV) has a table of one row, in `_current/`, that names it.
Delta itself is known to `opening`, `write` and `log` beside this module, and to nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from spark_src.errors import NothingStoredError
from spark_src.io.aws import repeat
from spark_src.io.locations import Location
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
        """The current version, or None where nothing was ever made."""
        return find(asset, self.prefix(asset))

    def current(self, asset: str) -> Snapshot:
        """The current version.

        Raises:
            NothingStoredError: nothing was made yet.
            UnreadableVersionError: newer code or the first edition wrote it, or it is damaged.
        """
        snapshot = self.find(asset)
        if snapshot is None:
            raise NothingStoredError(
                f"{asset} has no current version under {self.prefix(asset)}. Make it with: "
                f"uv run dagster asset materialize --select '*{asset}'"
            )
        return snapshot

    def begin(self, asset: str, run_id: str, inputs: Sequence[Snapshot] = ()) -> TableWrite:
        """Begin to change an asset: call it before anything is read that the change is made of.

        An erasure commits to every table. So either the commit of this change is refused, or the
        inputs are those that the erasure left.

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
        """Every commit that the log still has, the latest first."""
        return list(self.commits(asset))

    def commits(self, asset: str) -> Iterator[Commit]:
        """The same one by one: the log is read as far back as is asked for."""
        location = self.prefix(asset)
        table = open_table(asset, location)
        if table is not None:
            yield from table_commits(asset, location, table)

    def vacuum(self, asset: str) -> None:
        """Delete files that no version of the last seven days has; keep those of the last two."""
        location = self.prefix(asset)

        def vacuum() -> None:
            table = open_table(asset, location)
            if table is None:
                return
            ours = list(islice(table_commits(asset, location, table), 2))
            # The files of the version before are those of Delta's last one before the current:
            # only vacuums lie between them, and the log may begin after the former.
            kept = [table.version(), ours[0].version - 1][: len(ours)]
            table.vacuum(dry_run=False, full=True, keep_versions=kept)

        with delta_errors(asset, f"vacuuming {asset} under {location}"):
            repeat(vacuum)
        _delete_unfinished(table_folder(asset, location))

    def drop_history(self, asset: str) -> None:
        """Delete the log's entries before the current version. For erasure.

        A change that began before is refused at its commit.
        """
        location = self.prefix(asset)
        table = open_table(asset, location)
        if table is None:
            return
        current = next(table_commits(asset, location, table)).version
        with delta_errors(asset, f"writing a checkpoint of {asset}"):
            table.create_checkpoint()
        # The latest first: an interruption leaves a gap, so that nothing takes the rest for a log.
        for info in reversed((table_folder(asset, location) / _LOG).files()):
            number = info.base_name.split(".")[0]
            if number.isdigit() and int(number) < current:
                location.filesystem.delete_file(info.path)

    def delete(self, asset: str) -> None:
        """Delete an asset with its history. A change that began before is refused at its commit."""
        location = self.prefix(asset)
        (table_folder(asset, location) / _LOG).delete_folder()
        location.delete_folder()


def _delete_unfinished(folder: Location) -> None:
    """Delete what killed runs left half-written: Delta's vacuum keeps names that begin with a dot.

    In S3 nothing is ever half-written.
    """
    if folder.scheme != "file":
        return
    limit = (time.time() - _VACUUM_DAYS * 24 * 60 * 60) * 1e9
    for info in folder.files():
        if info.base_name.startswith(".") and info.mtime_ns < limit:
            with suppress(FileNotFoundError):
                folder.filesystem.delete_file(info.path)
