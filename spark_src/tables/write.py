"""A change to one asset, based on the version that was current at its start: one Delta commit."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from spark_src.errors import (
    ConcurrentWriteError,
    FruitsError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.aws import delta_options
from spark_src.io.locations import Location, unwritable_error
from spark_src.io.retries import repeat
from spark_src.tables.log import KEY, CommitRecord, commits, is_untouched
from spark_src.tables.opening import (
    delta_errors,
    delta_uri,
    find,
    open_table,
    prefix,
    read_snapshot,
    require_versions,
)
from spark_src.tables.snapshot import DataFile, Snapshot, schema_of, table_folder
from spark_src.tables.statistics import Statistics

_APPLICATION = "fruits"
_COMMIT_TRIES = 8  # a vacuum adds two versions, and several may run at once
_PROPERTIES = {
    "delta.dataSkippingNumIndexedCols": "0",  # column statistics would hold paths
    "delta.checkpointInterval": "10",  # commits after a checkpoint are read one by one
    "delta.enableExpiredLogCleanup": "false",  # keep our commit records when other programs write
}


@dataclass(frozen=True)
class TableWrite:
    """A run's change to an asset, based on the version that was current at its start."""

    root: Location
    """Root of the storage."""
    asset: str
    run_id: str
    before: Snapshot | None
    inputs: Mapping[str, int] = field(default_factory=dict)
    head: int | None = None
    """Delta's version at the start of the change; a vacuum adds versions, too."""

    @property
    def location(self) -> Location:
        """The asset's folder."""
        return prefix(self.root, self.asset)

    @property
    def folder(self) -> Location:
        """The folder of the table's files."""
        return table_folder(self.asset, self.location)

    def commit(
        self,
        statistics: Statistics,
        add: Sequence[DataFile] = (),
        remove: Sequence[str] = (),
        note: str = "",
        code_version: str = "",
    ) -> Snapshot:
        """Commit the change atomically.

        Args:
            statistics: statistics of the whole new version.
            add: new files in `folder`.
            remove: names of files to remove from the table; they are not deleted.
            note: the reason for the commit, without personal data.
            code_version: version of the code that computed the change.

        Raises:
            ConcurrentWriteError: another run committed after this one started.
            StorageError: the disk is full or read-only, or this user may not write there.
        """
        removed = set(remove)
        known = self.before.files if self.before else ()
        kept = sum(file.rows for file in known if file.name not in removed)
        added = sum(file.rows for file in add)
        record = CommitRecord(
            id=uuid.uuid4().hex,
            run_id=self.run_id,
            code_version=code_version,
            inputs=dict(self.inputs),
            rows=kept + added,
            rows_added=added,
            rows_removed=sum(file.rows for file in known) - kept,
            files_added=len(add),
            files_removed=len(removed),
            note=note,
            statistics=statistics.model_dump(mode="json"),
        )
        if self.head is None:  # without a table, an erasure has nothing to conflict with
            require_versions(self.root, self.inputs, self.asset, self.run_id)
        try:
            with delta_errors(self.asset, f"committing {self.asset} under {self.location}"):
                return repeat(lambda: self._write_once(record, add, sorted(removed)))
        except OSError as error:
            raise unwritable_error(self.folder, error) from error

    def _write_once(
        self, record: CommitRecord, add: Sequence[DataFile], remove: list[str]
    ) -> Snapshot:
        """Commit, unless an earlier try already did and only its response was lost."""
        try:
            self._write_at_head(record, add, remove)
        except (DeltaError, StorageError, OSError) as error:
            with suppress(FruitsError):
                if (after := self._find_commit(record.id)) is not None:
                    return after
            if isinstance(error, CommitFailedError | FileExistsError) or (
                isinstance(error, DeltaError) and "already exists" in str(error)
            ):
                raise self._race_error() from error
            if isinstance(error, UnreadableVersionError) and self._is_overtaken():
                raise self._race_error() from error  # an erasure deleted the log
            raise
        if (after := self._find_commit(record.id)) is None:
            raise StorageError(f"{self.asset}: the commit to {self.location} cannot be found.")
        return after

    def _is_overtaken(self) -> bool:
        now = find(self.asset, self.location)
        return now is not None and now.version > (self.before.version if self.before else -1)

    def _find_commit(self, commit_id: str) -> Snapshot | None:
        table = open_table(self.asset, self.location)
        if table is None:
            return None
        for commit in commits(self.folder, table.version()):
            if commit.record.id == commit_id and commit.version == table.version():
                return read_snapshot(self.asset, self.location, table)
            if commit.record.id == commit_id:
                return find(self.asset, self.location, commit.version)
            if commit.version <= (-1 if self.head is None else self.head):
                break
        return None

    def _write_at_head(
        self, record: CommitRecord, add: Sequence[DataFile], remove: list[str]
    ) -> None:
        """Commit as the next version, or after versions that a concurrent vacuum adds."""
        for number in range(_COMMIT_TRIES):
            # Opened again: the credentials may have expired since the change started.
            table = open_table(self.asset, self.location)
            if not self._is_head(table):
                raise self._race_error()
            try:
                return self._write(table, record, add, remove)
            except CommitFailedError:
                if self.head is None or number == _COMMIT_TRIES - 1:
                    raise

    def _is_head(self, table: DeltaTable | None) -> bool:
        """Whether the table has not changed since the change started.

        delta-rs does not detect this conflict: it accepts the removal of a file that another
        program's `OPTIMIZE` has already removed, which would duplicate the rows.
        """
        if table is None or self.head is None:
            return table is None and self.head is None
        return is_untouched(self.folder, self.head, table.version())

    def _write(
        self,
        table: DeltaTable | None,
        record: CommitRecord,
        add: Sequence[DataFile],
        remove: list[str],
    ) -> None:
        number = 0 if table is None else table.transaction_version(_APPLICATION) or 0
        properties = CommitProperties(
            custom_metadata={KEY: record.model_dump_json()},
            max_commit_retries=0,  # `_is_head` detects conflicting commits
            app_transactions=[Transaction(_APPLICATION, number + 1)],
        )
        now = int(time.time() * 1000)
        known = self.before.files if self.before else ()
        later = max([now, *(file.added_ms + 1 for file in known)])  # even if a clock was wrong
        adding = [
            AddAction(file.name, file.bytes, {}, later, True, json.dumps({"numRecords": file.rows}))
            for file in add
        ]
        schema = Schema.from_arrow(schema_of(self.asset))
        if table is None:
            if self.folder.scheme == "file":
                self.folder.make_folder()
            create_table_with_add_actions(
                delta_uri(self.folder),
                schema,
                adding,
                name=self.asset,
                configuration=_PROPERTIES,
                storage_options=delta_options(self.folder),
                commit_properties=properties,
            )
            return
        removing = [RemoveAction(name, True, now) for name in remove]
        table.create_write_transaction(
            [*removing, *adding], "append", schema, commit_properties=properties
        )

    def _race_error(self) -> ConcurrentWriteError:
        winner = find(self.asset, self.location)
        cause = "a run committed"
        if winner is not None:
            cause = f"run {winner.record.run_id} committed version {winner.version}"
        if winner is not None and self.before and winner.version == self.before.version:
            cause = "another program changed the table"
        return ConcurrentWriteError(
            f"{self.asset}: {cause} while run {self.run_id} was working on it. That commit is "
            "unchanged; materialize again, one run at a time."
        )
