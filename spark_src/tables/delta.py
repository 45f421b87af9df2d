"""The one place that knows Delta: opening tables, committing files, history. Not what is in them.

Workers write Parquet files into a table's folder; one commit makes them part of it. An asset that
is a file and no table (a model, the CSV) has a table of one row, in `_current/`, that names it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from pydantic import BaseModel, ConfigDict, ValidationError

from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    NothingStoredError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.aws import delta_options, explained
from spark_src.io.locations import Location
from spark_src.tables.schemas import ARTIFACT, TABLES
from spark_src.tables.statistics import MODELS, Statistics

FORMAT = 2
"""Of what a commit says of itself. Code refuses a higher number than it knows."""

CURRENT = "_current"
"""Folder of the one-row table of an asset that is no table. Parquet readers skip such names."""

_APPLICATION = "fruits"
_KEY = "fruits"
_PROPERTIES = {"delta.dataSkippingNumIndexedCols": "0"}  # column statistics would hold paths

S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table; `name` is relative to the table's folder."""

    name: str
    bytes: int
    rows: int


class CommitRecord(BaseModel):
    """What a commit says: kept in the log for good, so nothing in it is personal."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    run_id: str
    code_version: str = ""
    inputs: dict[str, int] = {}
    """Versions of the assets that it was made from."""
    rows_added: int = 0
    rows_removed: int = 0
    files_added: int = 0
    files_removed: int = 0
    note: str = ""
    """Why, where there is a reason to give: a refit, an erasure."""
    statistics: dict[str, Any] = {}


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
    def bytes(self) -> int:
        """Bytes of the table's files."""
        return sum(file.bytes for file in self.files)

    def typed(self, kind: type[S]) -> S:
        """The statistics as the asset's own type."""
        if not isinstance(self.statistics, kind):
            raise TypeError(f"{self.asset} has {type(self.statistics).__name__}, no {kind}")
        return self.statistics

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
        record = CommitRecord(
            run_id=self.run_id,
            code_version=code_version,
            inputs=dict(self.inputs),
            rows_added=sum(file.rows for file in add),
            rows_removed=sum(file.rows for file in known if file.name in gone),
            files_added=len(add),
            files_removed=len(gone),
            note=note,
            statistics=statistics.model_dump(mode="json"),
        )
        with _delta_errors(self.asset, f"committing {self.asset} under {self.location}"):
            try:
                self._write(record, add, sorted(gone))
            except (CommitFailedError, FileExistsError) as error:
                raise self._lost_race() from error
        after = find(self.asset, self.location)
        if after is None:
            raise StorageError(f"{self.asset}: the commit to {self.location} is not there.")
        return after

    def _write(self, record: CommitRecord, add: Sequence[DataFile], remove: list[str]) -> None:
        # Opened again at that version: credentials of long ago may have expired.
        table = None if self.head is None else _open(self.asset, self.location, self.head)
        number = 0 if table is None else table.transaction_version(_APPLICATION) or 0
        properties = CommitProperties(
            custom_metadata={_KEY: record.model_dump_json()},
            app_transactions=[Transaction(_APPLICATION, number + 1)],
        )
        now = int(time.time() * 1000)
        adding = [
            AddAction(file.name, file.bytes, {}, now, True, json.dumps({"numRecords": file.rows}))
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
            raise StorageError(f"There is no asset {asset!r}; there are {', '.join(PREFIXES)}.")
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
        for used in inputs:
            now = self.find(used.asset)
            if now is None or now.version != used.version:
                raise ConcurrentWriteError(
                    f"{asset}: {used.asset} was changed since run {run_id} read it. Nothing was "
                    "written; materialize again."
                )
        versions = {used.asset: used.version for used in inputs}
        return TableWrite(self.root, asset, run_id, before, versions, table and table.version())

    def history(self, asset: str) -> list[tuple[int, datetime, CommitRecord]]:
        """Every commit that the log still has, the latest first."""
        table = _open(asset, self.prefix(asset))
        return [] if table is None else list(_commits(asset, table))

    def vacuum(self, asset: str) -> None:
        """Delete files that no version of the last seven days has; keep those of the last two."""
        table = _open(asset, self.prefix(asset))
        if table is None:
            return
        kept = [version for version, _, _ in _commits(asset, table)][:2]
        with _delta_errors(asset, f"vacuuming {asset}"):
            table.vacuum(dry_run=False, full=True, keep_versions=kept)

    def purge(self, asset: str) -> None:
        """Delete every file that the current version does not have. For erasure: no run may write.

        The folder of an asset that is no table is the caller's to clear.
        """
        table = _open(asset, self.prefix(asset))
        if table is None:
            return
        with _delta_errors(asset, f"vacuuming {asset}"):
            table.vacuum(
                retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True
            )
            table.create_checkpoint()
            table.cleanup_metadata()


def is_table(asset: str) -> bool:
    """Whether the asset is a table, and no file that a table of one row names."""
    return asset in TABLES


def schema_of(asset: str) -> pa.Schema:
    """The columns of the asset's Delta table."""
    return TABLES.get(asset, ARTIFACT)


def table_folder(asset: str, location: Location) -> Location:
    """Where the asset's Delta table lies."""
    return location if is_table(asset) else location / CURRENT


def find(asset: str, location: Location) -> Snapshot | None:
    """The current version of the asset in that folder, or None where nothing was ever made."""
    table = _open(asset, location)
    return None if table is None else _snapshot(asset, location, table)


def _open(asset: str, location: Location, version: int | None = None) -> DeltaTable | None:
    folder = table_folder(asset, location)
    with _delta_errors(asset, f"opening {folder}"):
        try:
            return DeltaTable(_uri(folder), version, storage_options=delta_options(folder))
        except TableNotFoundError:
            _refuse_first_edition(asset, location)
            return None


def _refuse_first_edition(asset: str, location: Location) -> None:
    if not (location / "current.json").exists():
        return
    raise UnreadableVersionError(
        f"{asset}: {location} was written by the first edition of this project, whose tables were "
        "no Delta tables. Set FRUITS_STORAGE to a new folder, or delete this one, and materialize "
        "again with: uv run dagster asset materialize --select '*'"
    )


def _snapshot(asset: str, location: Location, table: DeltaTable) -> Snapshot:
    latest = next(_commits(asset, table, limit=8), None) or next(_commits(asset, table), None)
    if latest is None:
        raise UnreadableVersionError(
            f"{asset}: no commit of {location} was made by this project. Give it a folder of its "
            "own: set FRUITS_STORAGE to another one."
        )
    version, committed_at, record = latest
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = (actions[name].to_pylist() for name in ("path", "size_bytes", "num_records"))
    files = sorted(map(DataFile, *columns), key=lambda file: file.name)
    try:
        statistics = MODELS[asset].model_validate(record.statistics)
    except ValidationError as error:
        raise _unreadable(asset, location, str(error)) from error
    return Snapshot(asset, location, version, committed_at, record, tuple(files), statistics)


def _commits(
    asset: str, table: DeltaTable, limit: int | None = None
) -> Iterator[tuple[int, datetime, CommitRecord]]:
    """Our commits, the latest first; Delta's own (vacuum, checkpoint) say nothing of the rows."""
    for entry in table.history(limit):
        if _KEY not in entry:
            continue
        content = json.loads(entry[_KEY])
        if content["format"] > FORMAT:
            raise UnreadableVersionError(
                f"{asset}: version {entry['version']} has format {content['format']}, this code "
                f"knows up to {FORMAT}. Use the newer release of this project that wrote it."
            )
        at = datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
        yield int(entry["version"]), at, CommitRecord.model_validate(content)


@contextmanager
def _delta_errors(asset: str, doing: str) -> Iterator[None]:
    """Errors of AWS with their remedies; a damaged log as what it is."""
    with explained(doing):
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except (DeltaError, ValueError) as error:
            raise UnreadableVersionError(
                f"{asset}: {doing} failed ({error}). Is its _delta_log damaged? Restore it from a "
                f"backup, or delete the folder and materialize {asset} again."
            ) from error


def _unreadable(asset: str, location: Location, why: str) -> UnreadableVersionError:
    return UnreadableVersionError(
        f"{asset}: the log of {location} cannot be read ({why}). Delete the folder and materialize "
        f"{asset} again."
    )


def _uri(location: Location) -> str:
    """As delta-rs takes it: a plain path on disk."""
    return location.path if location.scheme == "file" else location.uri
