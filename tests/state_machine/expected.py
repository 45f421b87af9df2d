"""Invariants of the tables after each step, even if a process was killed. No tests here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from spark_src.tables.audit import vector_statistics
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.parquet import open_parquet
from spark_src.tables.statistics import FeaturesStatistics, MobilenetModelStatistics
from tests.small_tables import digest_of
from tests.state_machine.world import (
    ASSETS,
    FEATURES,
    LENGTH,
    MODEL,
    RAW,
    Rows,
    expected_statistics,
    model_file,
)

Signature = frozenset[tuple[str, int, int]]


@dataclass
class Version:
    """A version that was committed, or is about to be."""

    run_id: str
    rows: Rows
    model: str = ""
    number: int = -1
    """The Delta version."""
    snapshot: Snapshot | None = None


@dataclass
class Expected:
    """The committed versions, in order, and the erased pictures."""

    tables: Tables
    versions: dict[str, list[Version]] = field(default_factory=lambda: {a: [] for a in ASSETS})
    pending: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    """Versions that the current step will commit."""
    whole_from: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ASSETS, 0))
    """Index in `versions` of the first one whose files no purge has deleted."""
    erased: set[str] = field(default_factory=set)
    """Paths of pictures whose erasure is complete."""
    exempt: set[Path] = field(default_factory=set)
    """Files of runs that started before an erasure and continued to write after it."""
    seen: dict[str, Signature] = field(default_factory=dict)

    def current(self, asset: str) -> Version | None:
        """The version that must be current."""
        return self.versions[asset][-1] if self.versions[asset] else None

    def announce(self, asset: str, version: Version) -> None:
        """Register a version that is about to be committed."""
        self.pending[asset].append(version)

    def settle(self, completed: bool) -> int:
        """Find which announced versions exist: after a crash, only the first ones or none.

        Args:
            completed: whether the process that announced them completed.

        Returns:
            The number of announced versions that exist.
        """
        count = 0
        for asset in [asset for asset in ASSETS if self.pending.get(asset)]:
            last = self.versions[asset][-1].number if self.versions[asset] else -1
            new = {
                c.record.run_id: c.version for c in self.tables.history(asset) if c.version > last
            }
            announced = self.pending.pop(asset)
            made = [version for version in announced if version.run_id in new]
            made = announced[: announced.index(made[-1]) + 1] if made else []
            assert new.keys() <= {version.run_id for version in made}
            assert not completed or made == announced, f"{asset}: a commit is lost"
            for version in made:  # a purge drops all but the latest from the log
                version.number = new.get(version.run_id, -1)
            self.versions[asset] += made
            count += len(made)
        return count

    def drop_announced(self) -> None:
        """Discard announced versions whose commit was rejected."""
        self.pending.clear()

    def purged(self) -> None:
        """Require only the files of the current versions from now on."""
        for asset in ASSETS:
            self.whole_from[asset] = max(0, len(self.versions[asset]) - 1)

    def check(self) -> None:
        """Check everything that has changed since the last check.

        Raises:
            AssertionError: an invariant is violated.
        """
        for asset in ASSETS:
            signature = _signature(Path(self.tables.prefix(asset).path))
            if self.seen.get(asset) == signature:
                continue
            self.seen[asset] = signature
            self._check_current(asset)
            self._check_history(asset)
            self._check_last_two(asset)
            self._check_erased(asset)

    def _check_current(self, asset: str) -> None:
        snapshot, expected = self.tables.find(asset), self.current(asset)
        if snapshot is None or expected is None:
            assert snapshot is expected is None
            return
        expected.snapshot = snapshot
        assert (snapshot.version, snapshot.record.run_id) == (expected.number, expected.run_id)
        assert len(snapshot.added) == snapshot.record.files_added
        rows = self._read(snapshot)
        assert rows == sorted(expected.rows)
        assert snapshot.rows == len(rows) == snapshot.record.rows
        assert self.erased.isdisjoint(rows)
        wanted = expected_statistics(asset, expected.rows, expected.model)
        found = snapshot.statistics.model_copy(
            update={"seconds": wanted.seconds, "measured": wanted.measured}
        )
        assert found == wanted
        if asset == FEATURES:
            self._check_inputs(snapshot, expected)

    def _read(self, snapshot: Snapshot) -> list[str]:
        """Read every row of a version; for the model, its digest."""
        rows: list[str] = []
        for file, location in zip(snapshot.files, snapshot.locations, strict=True):
            assert location.size == file.bytes
            with open_parquet(location, verify=True) as parquet:
                table = parquet.read()
            assert table.num_rows == file.rows
            if snapshot.asset == MODEL:
                name = model_file(snapshot.typed(MobilenetModelStatistics).sha256)
                assert table["file"].to_pylist() == [name]
                rows.append((snapshot.location / name).read().decode())
                continue
            rows += table["path"].to_pylist()
            if snapshot.asset == FEATURES:
                known = snapshot.typed(FeaturesStatistics)
                assert set(table["model_sha256"].to_pylist()) <= {known.model_sha256}
                vectors = vector_statistics(table["features"].combine_chunks())
                assert (vectors.nulls, vectors.not_finite) == (0, 0)
                assert {vectors.shortest, vectors.longest} == {LENGTH}
        return sorted(rows)

    def _check_inputs(self, snapshot: Snapshot, expected: Version) -> None:
        """Features cover all pictures of their input version, and use the input model."""
        inputs = {
            asset: next(v for v in self.versions[asset] if v.number == number)
            for asset, number in snapshot.record.inputs.items()
        }
        assert inputs[RAW].rows == expected.rows
        assert inputs[MODEL].model == expected.model

    def _check_history(self, asset: str) -> None:
        history, versions = self.tables.history(asset), self.versions[asset]
        assert [commit.version for commit in history] == [
            version.number for version in reversed(versions)
        ][: len(history)]
        assert len(history) >= len(versions) - self.whole_from[asset]
        if len(history) == len(versions):
            added = sum(c.record.rows_added - c.record.rows_removed for c in history)
            assert added == (len(versions[-1].rows) if versions else 0)
        for later, earlier in pairwise(history):
            change = later.record.rows_added - later.record.rows_removed
            assert later.record.rows == (earlier.record.rows or 0) + change

    def _check_last_two(self, asset: str) -> None:
        """The current and the previous version must be readable."""
        for version in self.versions[asset][self.whole_from[asset] :][-2:]:
            if version.snapshot is not None:
                assert self._read(version.snapshot) == sorted(version.rows)

    def _check_erased(self, asset: str) -> None:
        for path in self.files_with(asset, self.erased):
            assert path in self.exempt, f"{path.name} contains erased data"

    def files_with(self, asset: str, rows: Iterable[str]) -> list[Path]:
        """Files below an asset's folder that contain data of these pictures."""
        needles = [text.encode() for row in rows for text in (row, digest_of(row))]
        folder = Path(self.tables.prefix(asset).path)
        files = [path for path in folder.rglob("*") if path.is_file()] if needles else []
        return [path for path in files if _holds(path, needles)]


def _holds(path: Path, needles: list[bytes]) -> bool:
    content = path.read_bytes()
    return any(needle in content for needle in needles)


def _signature(folder: Path) -> Signature:
    found = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return frozenset((str(path), status.st_size, status.st_mtime_ns) for path, status in found)
