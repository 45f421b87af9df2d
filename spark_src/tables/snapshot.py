"""A version of an asset: its files and its commit record. `opening` reads it from Delta's log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import pyarrow as pa

from spark_src.io.locations import Location
from spark_src.tables.log import CommitRecord
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import ARTIFACT
from spark_src.tables.statistics import Statistics

CURRENT = "_current"
"""Folder of the one-row table of an asset that is a file. Parquet readers skip such names."""

S = TypeVar("S", bound=Statistics)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table; `name` is relative to the table's folder."""

    name: str
    bytes: int
    rows: int
    added_ms: int = field(default=0, compare=False)
    """Time of the commit that added it, in milliseconds; the same for all files of a commit."""


@dataclass(frozen=True)
class Snapshot:
    """An immutable version of an asset; later commits do not change it."""

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
        """The number of rows in the table's files."""
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
        """Bytes of the table's files, or of the files of an asset that is not a table."""
        if is_table(self.asset):
            return sum(file.bytes for file in self.files)
        return sum(_total_size(self.location / name) for name in self.statistics.files)

    def typed(self, kind: type[S]) -> S:
        """The statistics as the asset's own type."""
        if not isinstance(self.statistics, kind):
            raise TypeError(f"{self.asset} has {type(self.statistics).__name__}, not {kind}")
        return self.statistics

    @property
    def data_location(self) -> Location:
        """The location to show to users: the table's folder, or the file."""
        if is_table(self.asset):
            return self.location
        return self.location / self.statistics.files[0]

    def file_location(self, file: DataFile) -> Location:
        """The location of one of its files."""
        return table_folder(self.asset, self.location) / file.name

    @cached_property
    def locations(self) -> list[Location]:
        """The locations of its files, in the order of `files`."""
        return [self.file_location(file) for file in self.files]


def is_table(asset: str) -> bool:
    """Whether the asset is a table rather than a file named by a one-row table."""
    return asset in TABLES


def schema_of(asset: str) -> pa.Schema:
    """The columns of the asset's Delta table."""
    return TABLES.get(asset, ARTIFACT)


def table_folder(asset: str, location: Location) -> Location:
    """The folder of the asset's Delta table."""
    return location if is_table(asset) else location / CURRENT


def _total_size(location: Location) -> int:
    """Bytes of a file, or of all files in a folder."""
    if location.is_folder():
        return sum(file.size for file in location.files())
    return location.size or 0
