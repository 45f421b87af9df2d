"""The one place that knows Delta: opening tables, committing files, history. Not what is in them.

Workers write Parquet files into a table's folder; one commit makes them part of it. An asset that
is a file and no table (a model, the CSV) has a table of one row, in `_current/`, that names it.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from pydantic import ValidationError

from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    FruitsError,
    NothingStoredError,
    SettingsError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.aws import aws_errors, code_in, delta_options, repeat
from spark_src.io.locations import Location
from spark_src.tables.log import KEY, Commit, CommitRecord, commits
from spark_src.tables.registry import STORED, TABLES
from spark_src.tables.schemas import ARTIFACT
from spark_src.tables.statistics import Statistics

_LOG = "_delta_log"

CURRENT = "_current"
"""Folder of the one-row table of an asset that is no table. Parquet readers skip such names."""

_APPLICATION = "fruits"
_FILE_COLUMNS = ("path", "size_bytes", "num_records", "modification_time")
_PROPERTIES = {
    "delta.dataSkippingNumIndexedCols": "0",  # column statistics would hold paths
    "delta.checkpointInterval": "10",  # commits since then are read one by one
    "delta.enableExpiredLogCleanup": "false",  # what our commits say must outlive other writers'
}
_LONGEST_REASON = 200
_VACUUM_DAYS = 7  # as Delta's own
_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\\\ud800-\udfff]")
"""What delta-rs, which decodes a path once more when it reads, takes for something else."""

S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table; `name` is relative to the table's folder."""

    name: str
    bytes: int
    rows: int
    added_ms: int = field(default=0, compare=False)
    """When a commit added it, in milliseconds; the same for all files of a commit."""


@dataclass(frozen=True)
class Snapshot:
    """A version of an asset: immutable, whatever is committed later."""

    asset: str
    location: Location
    """The asset's folder."""
    version: int
    committed_at: datetime
    record: CommitRecord
    files: tuple[DataFile, ...]
    statistics: Statistics

    @property
    def rows(self) -> int:
        """How many rows the table has, by its files."""
        return sum(file.rows for file in self.files)

    @property
    def added(self) -> tuple[DataFile, ...]:
        """The files that the commit of this version added."""
        if not self.record.files_added:
            return ()
        latest = max(file.added_ms for file in self.files)
        return tuple(file for file in self.files if file.added_ms == latest)

    @property
    def bytes(self) -> int:
        """Bytes of the table's files, or of those that an asset that is no table consists of."""
        if is_table(self.asset):
            return sum(file.bytes for file in self.files)
        return sum(_size_of(self.location / name) for name in self.statistics.files)

    def typed(self, kind: type[S]) -> S:
        """The statistics as the asset's own type."""
        if not isinstance(self.statistics, kind):
            raise TypeError(f"{self.asset} has {type(self.statistics).__name__}, no {kind}")
        return self.statistics

    @property
    def data_location(self) -> Location:
        """Where a person finds the data: the table's folder, or the file."""
        if is_table(self.asset):
            return self.location
        return self.location / self.statistics.files[0]

    def file_location(self, file: DataFile) -> Location:
        """Where one of its files is."""
        return table_folder(self.asset, self.location) / file.name

    @cached_property
    def locations(self) -> list[Location]:
        """Where its files are, by name."""
        return [self.file_location(file) for file in self.files]


@dataclass(frozen=True)
class TableWrite:
    """A change that a run is making: of the version that was current when it began."""

    root: Location
    """Of the storage."""
    asset: str
    run_id: str
    before: Snapshot | None
    inputs: Mapping[str, int] = field(default_factory=dict)
    head: int | None = None
    """Delta's own version when the change began; its vacuum makes versions, too."""

    @property
    def location(self) -> Location:
        """The asset's folder."""
        return Tables(self.root).prefix(self.asset)

    @property
    def folder(self) -> Location:
        """Where the table's files go."""
        return table_folder(self.asset, self.location)

    def commit(
        self,
        statistics: Statistics,
        add: Sequence[DataFile] = (),
        remove: Sequence[str] = (),
        note: str = "",
        code_version: str = "",
    ) -> Snapshot:
        """Make the change current: all of it at once.

        Args:
            statistics: of the whole new version.
            add: files that lie in `folder`.
            remove: names of files that are no longer part of the table; they are not deleted.
            note: why, where there is a reason to give. Nothing personal.
            code_version: of the code that made it.

        Raises:
            ConcurrentWriteError: another run committed since this one began.
        """
        gone = set(remove)
        known = self.before.files if self.before else ()
        kept = sum(file.rows for file in known if file.name not in gone)
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
            files_removed=len(gone),
            note=note,
            statistics=statistics.model_dump(mode="json"),
        )
        if self.head is None:  # no commit that an erasure made meanwhile can be in the way
            Tables(self.root).require_versions(self.inputs, self.asset, self.run_id)
        with _delta_errors(self.asset, f"committing {self.asset} under {self.location}"):
            return repeat(lambda: self._write_once(record, add, sorted(gone)))

    def _write_once(
        self, record: CommitRecord, add: Sequence[DataFile], remove: list[str]
    ) -> Snapshot:
        """Commit, unless it is there already: the answer to an earlier try may have been lost."""
        try:
            self._write(record, add, remove)
        except (DeltaError, StorageError, OSError) as error:
            with suppress(FruitsError):
                if (after := self._find_commit(record.id)) is not None:
                    return after
            if isinstance(error, CommitFailedError | FileExistsError) or (
                isinstance(error, DeltaError) and "already exists" in str(error)
            ):
                raise self._lost_race() from error
            if isinstance(error, UnreadableVersionError) and self._is_overtaken():
                raise self._lost_race() from error  # an erasure has dropped the log up to then
            raise
        if (after := self._find_commit(record.id)) is None:
            raise StorageError(f"{self.asset}: the commit to {self.location} is not there.")
        return after

    def _is_overtaken(self) -> bool:
        now = find(self.asset, self.location)
        return now is not None and now.version > (self.before.version if self.before else -1)

    def _find_commit(self, commit_id: str) -> Snapshot | None:
        table = _open(self.asset, self.location)
        if table is None:
            return None
        for commit in commits(self.folder, table.version()):
            if commit.record.id == commit_id and commit.version == table.version():
                return _snapshot(self.asset, self.location, table)
            if commit.record.id == commit_id:
                return find(self.asset, self.location, commit.version)
            if commit.version <= (-1 if self.head is None else self.head):
                break
        return None

    def _write(self, record: CommitRecord, add: Sequence[DataFile], remove: list[str]) -> None:
        # Opened again at that version: credentials of long ago may have expired.
        table = None if self.head is None else _open(self.asset, self.location, self.head)
        if table is None and (self.head is not None or _open(self.asset, self.location)):
            raise self._lost_race()
        number = 0 if table is None else table.transaction_version(_APPLICATION) or 0
        properties = CommitProperties(
            custom_metadata={KEY: record.model_dump_json()},
            # A second creator would be put on top of the first, which it never read.
            max_commit_retries=0 if table is None else None,
            app_transactions=[Transaction(_APPLICATION, number + 1)],
        )
        now = int(time.time() * 1000)
        known = self.before.files if self.before else ()
        later = max([now, *(file.added_ms + 1 for file in known)])  # whose clock ever was wrong
        adding = [
            AddAction(file.name, file.bytes, {}, later, True, json.dumps({"numRecords": file.rows}))
            for file in add
        ]
        schema = Schema.from_arrow(schema_of(self.asset))
        if table is None:
            if self.folder.scheme == "file":
                self.folder.make_folder()
            create_table_with_add_actions(
                _uri(self.folder),
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

    def _lost_race(self) -> ConcurrentWriteError:
        winner = find(self.asset, self.location)
        by = f"run {winner.record.run_id} committed version {winner.version}" if winner else "a run"
        return ConcurrentWriteError(
            f"{self.asset}: {by} while run {self.run_id} was working on it. Nothing of the former "
            "was changed; materialize again, one run at a time."
        )


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
        if asset not in PREFIXES:
            near = get_close_matches(asset, PREFIXES, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise StorageError(
                f"There is no asset {asset!r}{hint} There are {', '.join(PREFIXES)}."
            )
        return self.root / PREFIXES[asset]

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
        table = _open(asset, location)
        before = None if table is None else _snapshot(asset, location, table)
        versions = {used.asset: used.version for used in inputs}
        self.require_versions(versions, asset, run_id)
        return TableWrite(
            self.root, asset, run_id, before, versions, None if table is None else table.version()
        )

    def require_versions(self, versions: Mapping[str, int], asset: str, run_id: str) -> None:
        """Refuse to make an asset of others that are no longer current.

        Raises:
            ConcurrentWriteError: one of them has another version now.
        """
        for name, version in versions.items():
            now = self.find(name)
            if now is None or now.version != version:
                raise ConcurrentWriteError(
                    f"{asset}: {name} was changed since run {run_id} read it. Nothing was "
                    "committed; materialize again."
                )

    def history(self, asset: str) -> list[Commit]:
        """Every commit that the log still has, the latest first."""
        location = self.prefix(asset)
        table = _open(asset, location)
        return [] if table is None else list(_commits(asset, location, table))

    def vacuum(self, asset: str) -> None:
        """Delete files that no version of the last seven days has; keep those of the last two."""
        location = self.prefix(asset)

        def vacuum() -> None:
            table = _open(asset, location)
            if table is None:
                return
            ours = list(islice(_commits(asset, location, table), 2))
            # The files of the version before are those of Delta's last one before the current:
            # only vacuums lie between them, and the log may begin after the former.
            kept = [table.version(), ours[0].version - 1][: len(ours)]
            table.vacuum(dry_run=False, full=True, keep_versions=kept)

        with _delta_errors(asset, f"vacuuming {asset} under {location}"):
            repeat(vacuum)
        _delete_unfinished(table_folder(asset, location))

    def drop_history(self, asset: str) -> None:
        """Delete the log's entries before the current version. For erasure.

        A change that began before is refused at its commit.
        """
        location = self.prefix(asset)
        table = _open(asset, location)
        if table is None:
            return
        current = next(_commits(asset, location, table)).version
        with _delta_errors(asset, f"writing a checkpoint of {asset}"):
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


def is_table(asset: str) -> bool:
    """Whether the asset is a table, and no file that a table of one row names."""
    return asset in TABLES


def _size_of(place: Location) -> int:
    """Bytes of a file, or of all that lies in a folder."""
    if place.is_folder():
        return sum(file.size for file in place.files())
    return place.size or 0


def schema_of(asset: str) -> pa.Schema:
    """The columns of the asset's Delta table."""
    return TABLES.get(asset, ARTIFACT)


def table_folder(asset: str, location: Location) -> Location:
    """Where the asset's Delta table lies."""
    return location if is_table(asset) else location / CURRENT


def find(asset: str, location: Location, version: int | None = None) -> Snapshot | None:
    """A version of the asset in that folder, the current one by default; None where none is."""
    table = _open(asset, location, version)
    return None if table is None else _snapshot(asset, location, table)


def _open(asset: str, location: Location, version: int | None = None) -> DeltaTable | None:
    folder = table_folder(asset, location)
    with _delta_errors(asset, f"opening {folder}"):
        try:
            return DeltaTable(_uri(folder), version, storage_options=delta_options(folder))
        except TableNotFoundError:
            _refuse_first_edition(asset, location)
            return None


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


def _refuse_first_edition(asset: str, location: Location) -> None:
    if not (location / "current.json").exists():
        return
    raise UnreadableVersionError(
        f"{asset}: {location} was written by the first edition of this project, whose tables were "
        "no Delta tables. Set FRUITS_STORAGE to a new folder, or delete this one, and materialize "
        "again with: uv run dagster asset materialize --select '*'"
    )


def _snapshot(asset: str, location: Location, table: DeltaTable) -> Snapshot:
    latest = next(_commits(asset, location, table), None)
    if latest is None:
        raise UnreadableVersionError(
            f"{asset}: no commit of {location} was made by this project. Give it a folder of its "
            "own: set FRUITS_STORAGE to another one."
        )
    version, committed_at, record = latest
    actions = table.get_add_actions(flatten=True)  # as pyarrow's it would load pandas
    columns = (actions.column(name).to_pylist() for name in _FILE_COLUMNS)
    files = sorted(map(DataFile, *columns), key=lambda file: file.name)
    try:
        statistics = STORED[asset].statistics.model_validate(record.statistics)
    except ValidationError as error:
        raise _unreadable(asset, location, str(error)) from error
    found = sum(file.rows for file in files)
    if record.rows not in {None, found}:
        reason = f"version {version} has files of {found:,} rows, and was of {record.rows:,}"
        raise _unreadable(asset, location, reason)
    return Snapshot(asset, location, version, committed_at, record, tuple(files), statistics)


def _commits(asset: str, location: Location, table: DeltaTable) -> Iterator[Commit]:
    folder = table_folder(asset, location)
    with _delta_errors(asset, f"reading the log of {folder}"):
        yield from commits(folder, table.version())


@contextmanager
def _delta_errors(asset: str, doing: str) -> Iterator[None]:
    """Errors of AWS with their remedies; a damaged log as what it is."""
    with aws_errors(doing):
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except (DeltaError, ValueError) as error:
            if code_in(str(error)) is not None:
                raise OSError(str(error)) from error
            raise UnreadableVersionError(
                f"{asset}: {doing} failed ({_first_line(error)}). Is its _delta_log damaged? "
                f"Restore it from a backup, or delete the folder and materialize {asset} again."
            ) from error


def _first_line(error: Exception) -> str:
    """Without the calls inside delta-rs."""
    return next(iter(str(error).splitlines()), "")[:_LONGEST_REASON]


def _unreadable(asset: str, location: Location, why: str) -> UnreadableVersionError:
    return UnreadableVersionError(
        f"{asset}: the log of {location} cannot be read ({why}). Delete the folder and materialize "
        f"{asset} again."
    )


def _uri(location: Location) -> str:
    """As delta-rs takes it: a plain path on disk.

    Raises:
        SettingsError: delta-rs would read another folder than the one it writes to.
    """
    on_disk = location.scheme == "file"
    found = _MISREAD.search(os.path.realpath(location.path) if on_disk else location.path)
    if found is None or (not on_disk and found[0] == "\\"):
        return location.path if on_disk else location.uri
    raise SettingsError(
        f"Tables cannot lie in {location.hadoop!r}: Delta's reader takes {found[0]!r} in a path "
        "for something else. Set FRUITS_STORAGE to a folder without it."
    )
