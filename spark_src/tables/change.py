"""A change to an asset whose files are written and that is ready to be committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from spark_src.tables.artifacts import clear_replaced, commit_artifact
from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite, is_table
from spark_src.tables.statistics import Measurement, Statistics

VACUUM_INTERVAL = 10
"""Commits between two vacuums. A vacuum lists the table's folder, so it is not run each time."""


@dataclass(frozen=True)
class Change:
    """A change that becomes visible to readers with its commit."""

    write: TableWrite
    statistics: Statistics | None
    """None: nothing changed, and the current version is kept."""
    add: tuple[DataFile, ...] = ()
    remove: tuple[str, ...] = ()
    note: str = ""
    images: int = 0
    """How many images the run processed."""
    cores: int = 1
    started: float = field(default_factory=time.monotonic)
    """When the work started, on the monotonic clock."""
    cleanup: Callable[[], object] = lambda: None
    """Called after the commit."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Results to display with the version; they are not committed."""

    @classmethod
    def none(cls, write: TableWrite) -> Change:
        """A change that leaves the asset unchanged."""
        return cls(write, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self.statistics is None

    @property
    def digest(self) -> str:
        """Digest of the asset's content after this change."""
        known = self.statistics or (self.write.before and self.write.before.statistics)
        return known.digest if known else ""

    def commit(self, code_version: str = "") -> Snapshot:
        """Commit the change and clean up; without a change, return the current version.

        Raises:
            ConcurrentWriteError: another run committed after this one started.
        """
        if self.statistics is None:
            if self.write.before is None:
                raise ValueError(
                    f"{self.write.asset} has no version yet, so it cannot be unchanged"
                )
            return self.write.before
        statistics = self._timed(self.statistics)
        if is_table(self.write.asset):
            snapshot = self.write.commit(statistics, self.add, self.remove, self.note, code_version)
        else:
            snapshot = commit_artifact(self.write, statistics, self.note, code_version)
        self.cleanup()
        self._clean_up(snapshot)
        return snapshot

    def _timed(self, statistics: Statistics) -> Statistics:
        seconds = round(time.monotonic() - self.started, 2)
        now = Measurement(seconds=seconds, images=self.images, cores=self.cores)
        before = self.write.before
        known = before.statistics.measured if before else Measurement()
        most = max(now, known, key=lambda measured: measured.images)
        return statistics.model_copy(update={"seconds": seconds, "measured": most})

    def _clean_up(self, snapshot: Snapshot) -> None:
        tables = Tables(self.write.root)
        if not is_table(snapshot.asset):
            clear_replaced(tables, snapshot.asset)
        elif snapshot.version and snapshot.version % VACUUM_INTERVAL == 0:
            tables.vacuum(snapshot.asset)
