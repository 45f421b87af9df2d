"""All records of a Dagster instance: its databases, its home folder and compute logs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from fruits_assets.dagster_internals import NoOpComputeLogManager
from fruits_assets.records.databases import Database, closing_database
from fruits_assets.records.redaction import Redaction
from spark_src.erasure.decode import SQLITE
from spark_src.erasure.files import Entry, Kind, delete_tree, walk
from spark_src.erasure.needles import PERSON, Needles
from spark_src.erasure.scan import Scan, scan, scan_entry
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.spark.scratch import FOLDER, is_in_use

DAGSTER_FOLDERS = ("storage", "history", "schedules", "logs", ".logs_queue", ".telemetry")
"""Folders in Dagster's home that Dagster itself writes. Other files there are not changed."""

_SIDE_FILES = (b"-wal", b"-shm", b"-journal")
"""Suffixes of SQLite's side files, which SQLite itself maintains."""

_POSTGRES = "Dagster's PostgreSQL"

_SQLITE_URL = "sqlite:///"


@dataclass(frozen=True)
class Records:
    """The records of an instance, without the storage and the input."""

    instance: dg.DagsterInstance
    excluded: tuple[Location, ...] = field(default=())
    """Storage and input, which may be inside Dagster's home and are erased separately."""

    def require_supported(self) -> None:
        """Refuse to erase if Dagster keeps records where they cannot be scanned.

        Raises:
            ErasureError: another class than SQLite's, PostgreSQL's or that of local logs is
                configured.
        """
        if not self.instance.is_persistent:
            return
        logs = self.instance.compute_log_manager
        known = [part for part in self._storages() if _folder_of(part) or _postgres_url(part)]
        if _folder_of(logs) or isinstance(logs, NoOpComputeLogManager):
            known.append(logs)
        others = [part for part in (*self._storages(), logs) if part not in known]
        if others:
            raise ErasureError(
                f"Dagster keeps its records with {type(others[0]).__name__}, where they cannot be "
                "scanned for a person's data. Configure SQLite or PostgreSQL, and "
                "LocalComputeLogManager, as in infra/host/dagster.yaml. Delete the earlier "
                "records, and run `fruits erase` again."
            )

    def redact(self, redaction: Redaction) -> int:
        """Redact a person; return how many rows and files were changed or deleted.

        Raises:
            ErasureError: a database or a file cannot be changed.
        """
        changed = self._clear_scratch()
        for url in sorted(self._postgres_urls()):
            with closing_database(url, _POSTGRES) as database:
                changed += database.redact(redaction)
        for folder in self._own_folders():
            for entry in self._entries(folder):
                changed += self._redact_entry(entry, redaction)
        return changed

    def scan(self, needles: Needles) -> Scan:
        """Scan every row and file for a target.

        Raises:
            ErasureError: a database cannot be read.
        """
        found = Scan()
        for root in self._roots():
            found += scan(root, needles, *self._excluded(root))
        for url in sorted(self._postgres_urls()):
            with closing_database(url, _POSTGRES) as database:
                found += Scan(hits=(_POSTGRES,) * database.hits(needles))
        return found

    def people(self) -> set[str]:
        """Names of folders under `photos/` that occur in the databases."""
        found: set[str] = set()
        for database in self._databases():
            with database as opened:
                for text in opened.texts():
                    found |= {name.decode("utf-8", "replace") for name in PERSON.findall(text)}
        return found

    def _databases(self) -> Iterator[AbstractContextManager[Database]]:
        for url in sorted(self._postgres_urls()):
            yield closing_database(url, _POSTGRES)
        for folder in self._own_folders():
            for entry in self._entries(folder):
                if _is_sqlite(entry):
                    yield closing_database(_sqlite_url(entry), str(entry.location))

    def _redact_entry(self, entry: Entry, redaction: Redaction) -> int:
        if entry.kind is Kind.OTHER:
            return 0
        if entry.raw.endswith(_SIDE_FILES):
            return _delete_without_database(entry)
        if _is_sqlite(entry):
            with closing_database(_sqlite_url(entry), str(entry.location)) as database:
                return database.redact(redaction)
        looked = scan_entry(entry, redaction.needles)
        if not (looked.in_name or looked.in_content):
            return 0
        if looked.in_name:
            entry.delete()
            return 1
        return _rewrite(entry, redaction)

    def _clear_scratch(self) -> int:
        """Delete spill files of killed Spark processes, which are here if the storage is in S3."""
        folder = Location("file", self.instance.root_directory) / FOLDER
        dead = [
            entry
            for entry in walk(folder)
            if entry.kind is Kind.FOLDER and "/" not in entry.path and not is_in_use(entry.path)
        ]
        return sum(delete_tree(folder, [entry.raw]) for entry in dead)

    def _entries(self, folder: Location) -> Iterator[Entry]:
        starts = tuple(str(start) for start in self._excluded(folder))
        for entry in list(walk(folder)):
            is_file = entry.kind in {Kind.FILE, Kind.OTHER}
            if is_file and not str(entry.location).startswith(starts):
                yield entry

    def _excluded(self, root: Location) -> list[Location]:
        """Prefixes of the storage and the input, if they are inside a folder."""
        inside = f"{root.path.rstrip('/')}/"
        return [
            location / ""
            for location in self.excluded
            if location.scheme == "file" and location.path.startswith(inside)
        ]

    def _roots(self) -> list[Location]:
        """Dagster's home and folders configured elsewhere."""
        return _outermost(self._homes() | self._configured_folders())

    def _own_folders(self) -> list[Location]:
        """Folders that only Dagster writes."""
        inside = {os.path.join(home, name) for home in self._homes() for name in DAGSTER_FOLDERS}
        return _outermost(inside | self._configured_folders())

    def _homes(self) -> set[str]:
        """Dagster's home, and the folder of its artifacts, which `dagster.yaml` can move."""
        homes = {self.instance.root_directory}
        if self.instance.is_persistent and "DAGSTER_HOME" in os.environ:
            homes.add(os.environ["DAGSTER_HOME"])
        return {os.path.abspath(home) for home in homes}

    def _configured_folders(self) -> set[str]:
        """Folders of compute logs and SQLite files that `dagster.yaml` configures."""
        parts = (self.instance.compute_log_manager, *self._storages())
        return {os.path.abspath(folder) for folder in map(_folder_of, parts) if folder}

    def _storages(self) -> list[Any]:
        """Dagster's storages of runs, events, and schedules and sensors."""
        instance = self.instance
        found = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
        return [part for part in found if part is not None]

    def _postgres_urls(self) -> set[str]:
        return {url for url in map(_postgres_url, self._storages()) if url}


def _outermost(folders: set[str]) -> list[Location]:
    """The existing folders that are not inside another one."""
    found: list[str] = []
    for folder in sorted(filter(os.path.isdir, folders)):
        if not any(folder.startswith(f"{known}/") for known in found):
            found.append(folder)
    return [Location("file", folder) for folder in found]


def _folder_of(part: Any) -> str | None:
    """The folder of local logs or of a SQLite file."""
    folder = getattr(part, "_base_dir", None)
    if folder:
        return str(folder)
    url = str(getattr(part, "_conn_string", ""))
    return os.path.dirname(url.removeprefix(_SQLITE_URL)) if url.startswith(_SQLITE_URL) else None


def _postgres_url(part: Any) -> str | None:
    """The URL with an explicit driver, because SQLAlchemy 2.1 defaults to psycopg 3."""
    url = getattr(part, "postgres_url", None)
    return str(url).replace("postgresql://", "postgresql+psycopg2://", 1) if url else None


def _rewrite(entry: Entry, redaction: Redaction) -> int:
    """Redact a person in a file; delete the file if redaction leaves a hit.

    Dagster only displays these files, so no run needs them.
    """
    with entry.open() as stream:
        content = stream.read()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        redacted = redaction.binary(content)
    else:
        redacted = redaction.lines(content)
    file = Path(os.fsdecode(os.path.join(os.fsencode(entry.root.path), entry.raw)))
    try:
        with file.open("r+b") as opened:  # in place, because a run may be writing to it
            opened.write(redacted)
            opened.truncate()
    except OSError as error:
        raise ErasureError(
            f"A file under {entry.root} cannot be changed ({error.strerror}). Give this user write "
            "permission, and run `fruits erase` again."
        ) from error
    if scan_entry(entry, redaction.needles).in_content:
        entry.delete()
    return 1


def _delete_without_database(entry: Entry) -> int:
    """Delete a side file whose database is gone, which nothing can decode."""
    path = os.path.join(os.fsencode(entry.root.path), entry.raw)
    if os.path.lexists(path.rpartition(b"-")[0]):
        return 0
    entry.delete()
    return 1


def _is_sqlite(entry: Entry) -> bool:
    if entry.kind is not Kind.FILE or entry.size < len(SQLITE):
        return False
    try:
        with entry.open() as stream:
            return stream.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def _sqlite_url(entry: Entry) -> str:
    return f"{_SQLITE_URL}{quote(str(entry.location))}"
