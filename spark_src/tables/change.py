"""A change of an asset that is worked out and written, and only has to be committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from spark_src.tables.artifacts import clear_replaced, commit_artifact
from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite, is_table
from spark_src.tables.statistics import Measurement, Statistics

VACUUM_INTERVAL = 10
"""Commits between two vacuums: each lists the table's folder."""


@dataclass(frozen=True)
class Change:
    """What a commit will make current. Nothing is visible before it."""

    write: TableWrite
    statistics: Statistics | None
    """None: nothing changed, and the version that is there stays."""
    add: tuple[DataFile, ...] = ()
    remove: tuple[str, ...] = ()
    note: str = ""
    images: int = 0
    """How many images the work went through."""
    cores: int = 1
    started: float = field(default_factory=time.monotonic)
    """When the work began, by the monotonic clock."""
    cleanup: Callable[[], object] = lambda: None
    """Called once the version is current."""

    @classmethod
    def none(cls, write: TableWrite) -> Change:
        """No change: the asset is what it was."""
        return cls(write, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self.statistics is None

    @property
    def digest(self) -> str:
        """Of what the asset will be, or is already."""
        known = self.statistics or (self.write.before and self.write.before.statistics)
        return known.digest if known else ""

    def commit(self, code_version: str = "") -> Snapshot:
        """Make it current, and tidy up; or give the version that is there.

        Raises:
            ConcurrentWriteError: another run committed since this one began.
        """
        if self.statistics is None:
            if self.write.before is None:
                raise ValueError(f"{self.write.asset} was never made, so it cannot be unchanged")
            return self.write.before
        statistics = self._timed(self.statistics)
        if is_table(self.write.asset):
            snapshot = self.write.commit(statistics, self.add, self.remove, self.note, code_version)
        else:
            snapshot = commit_artifact(self.write, statistics, self.note, code_version)
        self.cleanup()
        self._tidy(snapshot)
        return snapshot

    def _timed(self, statistics: Statistics) -> Statistics:
        seconds = round(time.monotonic() - self.started, 2)
        now = Measurement(seconds=seconds, images=self.images, cores=self.cores)
        before = self.write.before
        known = before.statistics.measured if before else Measurement()
        most = max(now, known, key=lambda measured: measured.images)
        return statistics.model_copy(update={"seconds": seconds, "measured": most})

    def _tidy(self, snapshot: Snapshot) -> None:
        tables = Tables(self.write.root)
        if not is_table(snapshot.asset):
            clear_replaced(tables, snapshot.asset)
        elif snapshot.version and snapshot.version % VACUUM_INTERVAL == 0:
            tables.vacuum(snapshot.asset)
