"""Opens Delta tables: folders, URIs, snapshots, and delta-rs errors as this project's errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pydantic import ValidationError

from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    SettingsError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.io.aws import aws_errors, code_in, delta_options
from spark_src.io.locations import Location
from spark_src.tables.log import Commit, commits
from spark_src.tables.registry import STORED
from spark_src.tables.snapshot import DataFile, Snapshot, table_folder

_FILE_COLUMNS = ("path", "size_bytes", "num_records", "modification_time")
_LONGEST_REASON = 200
_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\\\ud800-\udfff]")
"""Characters that delta-rs misreads, because it decodes a path a second time on reading."""


def prefix(root: Location, asset: str) -> Location:
    """The folder of one asset under the storage's root.

    Raises:
        StorageError: no asset has that name.
    """
    if asset not in PREFIXES:
        near = get_close_matches(asset, PREFIXES, 1)
        near = near or [name for name in PREFIXES if asset and name.startswith(asset)]
        hint = f"; did you mean {near[0]}?" if near else "."
        raise StorageError(f"There is no asset {asset!r}{hint} There are {', '.join(PREFIXES)}.")
    return root / PREFIXES[asset]


def require_versions(root: Location, versions: Mapping[str, int], asset: str, run_id: str) -> None:
    """Require that the versions of the inputs are still the current ones.

    Raises:
        ConcurrentWriteError: an input has a newer version.
    """
    for name, version in versions.items():
        now = find(name, prefix(root, name))
        if now is None or now.version != version:
            raise ConcurrentWriteError(
                f"{asset}: {name} was changed since run {run_id} read it. Nothing was "
                "committed; materialize again."
            )


def find(asset: str, location: Location, version: int | None = None) -> Snapshot | None:
    """A version of the asset in that folder, by default the current one; None if there is none."""
    table = open_table(asset, location, version)
    return None if table is None else read_snapshot(asset, location, table)


def open_table(asset: str, location: Location, version: int | None = None) -> DeltaTable | None:
    """The Delta table of an asset, or None if there is none."""
    folder = table_folder(asset, location)
    with delta_errors(asset, f"opening {folder}"):
        try:
            return DeltaTable(delta_uri(folder), version, storage_options=delta_options(folder))
        except TableNotFoundError:
            _reject_first_edition(asset, location)
            return None


def _reject_first_edition(asset: str, location: Location) -> None:
    if not (location / "current.json").exists():
        return
    raise UnreadableVersionError(
        f"{asset}: {location} was written by the first edition of this project, which did not "
        "use Delta tables. Set FRUITS_STORAGE to a new folder, or delete this one, and materialize "
        "again with: uv run dagster asset materialize --select '*'"
    )


def read_snapshot(asset: str, location: Location, table: DeltaTable) -> Snapshot:
    """The snapshot of an opened table.

    Raises:
        UnreadableVersionError: its log is damaged, or another program wrote it.
    """
    latest = next(table_commits(asset, location, table), None)
    if latest is None:
        raise UnreadableVersionError(
            f"{asset}: {location} has no commit of this project. Set FRUITS_STORAGE to a folder "
            "that no other program uses."
        )
    version, committed_at, record = latest
    actions = table.get_add_actions(flatten=True)  # converting it to pyarrow would import pandas
    columns = (actions.column(name).to_pylist() for name in _FILE_COLUMNS)
    files = sorted(map(DataFile, *columns), key=lambda file: file.name)
    try:
        statistics = STORED[asset].statistics.model_validate(record.statistics)
    except ValidationError as error:
        raise _unreadable(asset, location, str(error)) from error
    found = sum(file.rows for file in files)
    if record.rows not in {None, found}:
        reason = f"version {version} has {found:,} rows, but its commit recorded {record.rows:,}"
        if table.version() > version:
            raise _changed_by_others(asset, location, reason, version)
        raise _unreadable(asset, location, reason)
    return Snapshot(asset, location, version, committed_at, record, tuple(files), statistics)


def table_commits(asset: str, location: Location, table: DeltaTable) -> Iterator[Commit]:
    """The commits of this project in an opened table's log, the latest first."""
    folder = table_folder(asset, location)
    with delta_errors(asset, f"reading the log of {folder}"):
        yield from commits(folder, table.version())


@contextmanager
def delta_errors(asset: str, doing: str) -> Iterator[None]:
    """Turn AWS errors into errors with a remedy, delta-rs errors into `UnreadableVersionError`."""
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
    """The message without delta-rs's internal trace."""
    return next(iter(str(error).splitlines()), "")[:_LONGEST_REASON]


def _unreadable(asset: str, location: Location, reason: str) -> UnreadableVersionError:
    return UnreadableVersionError(
        f"{asset}: the log of {location} cannot be read ({reason}). Delete the folder and "
        f"materialize {asset} again."
    )


def _changed_by_others(
    asset: str, location: Location, reason: str, version: int
) -> UnreadableVersionError:
    folder = delta_uri(table_folder(asset, location))
    return UnreadableVersionError(
        f"{asset}: another program has changed rows of {location} ({reason}). Undo it with "
        f"`DeltaTable({folder!r}).restore({version})` of the deltalake library, or delete the "
        f"folder and materialize {asset} again."
    )


def delta_uri(location: Location) -> str:
    """The URI for delta-rs: a plain path on disk.

    Raises:
        SettingsError: delta-rs would read from a different folder than it writes to.
    """
    on_disk = location.scheme == "file"
    found = _MISREAD.search(os.path.realpath(location.path) if on_disk else location.path)
    if found is None or (not on_disk and found[0] == "\\"):
        return location.path if on_disk else location.uri
    raise SettingsError(
        f"Tables cannot be stored in {location.hadoop!r}: Delta's reader misreads {found[0]!r} in "
        "a path. Set FRUITS_STORAGE to a folder without it."
    )
