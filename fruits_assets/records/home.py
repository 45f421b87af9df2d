"""All records of a Dagster instance: its databases, its home folder and compute logs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import dagster as dg

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


@dataclass(frozen=True)
class Records:
    """The records of an instance, without the storage and the input."""

    instance: dg.DagsterInstance
    excluded: tuple[Location, ...] = field(default=())
    """Storage and input, which may be inside Dagster's home and are erased separately."""

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
        if entry.kind is Kind.OTHER or entry.raw.endswith(_SIDE_FILES):
            return 0
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
        """Dagster's home and folders configured elsewhere, without folders inside another one."""
        found: list[str] = []
        folders = {self.instance.root_directory, *self._configured_folders()}
        for folder in sorted(os.path.abspath(one) for one in folders):
            inside_another = any(folder.startswith(f"{known}/") for known in found)
            if os.path.isdir(folder) and not inside_another:
                found.append(folder)
        return [Location("file", folder) for folder in found]

    def _own_folders(self) -> list[Location]:
        home = [os.path.join(self.instance.root_directory, name) for name in DAGSTER_FOLDERS]
        folders = {os.path.abspath(one) for one in (*home, *self._configured_folders())}
        return [Location("file", folder) for folder in sorted(folders) if os.path.isdir(folder)]

    def _configured_folders(self) -> set[str]:
        """Folders of compute logs and SQLite files that `dagster.yaml` configures."""
        parts = (self.instance.compute_log_manager, self.instance.event_log_storage)
        found = (getattr(part, "_base_dir", None) for part in parts)
        return {str(folder) for folder in found if folder}

    def _postgres_urls(self) -> set[str]:
        parts = (
            self.instance.run_storage,
            self.instance.event_log_storage,
            self.instance.schedule_storage,
        )
        found = (getattr(part, "postgres_url", None) for part in parts)
        return {_for_psycopg2(str(url)) for url in found if url}


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


def _is_sqlite(entry: Entry) -> bool:
    if entry.kind is not Kind.FILE or entry.size < len(SQLITE):
        return False
    try:
        with entry.open() as stream:
            return stream.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def _sqlite_url(entry: Entry) -> str:
    return f"sqlite:///{quote(str(entry.location))}"


def _for_psycopg2(url: str) -> str:
    """The URL with an explicit driver, because SQLAlchemy 2.1 defaults to psycopg 3."""
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)
