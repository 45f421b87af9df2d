"""Runs, erasures and vacuums in any order, each of which may die at any file operation.

After each step, what is current is whole and audited, nothing that was committed is lost, and
nothing that was erased is back: see `expected.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spark_src.contract import PREFIXES
from spark_src.erasure.purge import purge
from spark_src.errors import AuditError, ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables
from tests.state_machine.crashes import crashing_operations
from tests.state_machine.expected import Expected, Version
from tests.state_machine.world import (
    ASSETS,
    FEATURES,
    MODEL,
    RAW,
    Rows,
    Writer,
    begin_features,
    owner_of,
    plan_compaction,
    plan_model,
    plan_pictures,
)

OWNERS = ("anna", "ben")
MOST_WRITERS = 3
SECONDS_OF_A_WEEK = 8 * 24 * 60 * 60

crashes = st.none() | st.integers(1, 30)
"""The file operation in which the process of a step dies."""

choices = st.integers(0, 5)

steps_done = count()


class TablesMachine(RuleBasedStateMachine):
    """Storage of its own, and a few runs that work on it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fruits-state-machine-"))
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.folder)
        self.operations = self.stack.enter_context(crashing_operations())
        self.root = Location("file", f"{self.folder}/data")
        self.expected = Expected(Tables(self.root))
        self.writers: list[Writer] = []
        self.rows_of: dict[str, Rows] = {}
        self.erasing: str | None = None
        self.numbers = count()

    def teardown(self) -> None:
        self.stack.close()

    @property
    def tables(self) -> Tables:
        """As a new process opens them."""
        return Tables(self.root)

    def run_id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def new_pictures(self, owners: list[str]) -> Rows:
        return frozenset(f"photos/{owner}/{next(self.numbers):04}.jpg" for owner in owners)

    def current(self, asset: str) -> Snapshot:
        return self.tables.current(asset)

    def exists(self, *assets: str) -> bool:
        return all(self.expected.current(asset) for asset in assets)

    def perform(self, crash: int | None, work: Callable[[], object]) -> bool:
        """One process; return whether it lived to the end."""
        lived = self.operations.run(crash, work)
        self.expected.settle(lived)
        return lived

    def write(self, writer: Writer) -> None:
        try:
            writer.write_files()
        finally:
            self.rows_of |= writer.files

    def commit(self, writer: Writer) -> None:
        """Commit in the process that is running."""
        change = writer.change()
        self.announce(writer)
        change.commit()

    def announce(self, writer: Writer) -> None:
        version = Version(writer.write.run_id, writer.rows, writer.model)
        self.expected.announce(writer.asset, version)

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule(owners=st.lists(st.sampled_from(OWNERS), max_size=3), gone=st.lists(choices, max_size=2))
    def begin_pictures(self, owners: list[str], gone: list[int]) -> None:
        write = self.tables.begin(RAW, self.run_id("pictures"))
        now = self.expected.current(RAW)
        there = sorted(now.rows) if now else []
        rows = {there[index % len(there)] for index in gone} if there else set()
        self.writers.append(plan_pictures(write, self.rows_of, self.new_pictures(owners), rows))

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule(digest=st.sampled_from(["m0", "m1", "m2"]))
    def begin_model(self, digest: str) -> None:
        self.writers.append(plan_model(self.tables.begin(MODEL, self.run_id("model")), digest))

    @precondition(lambda self: len(self.writers) < MOST_WRITERS and self.exists(RAW, MODEL))
    @rule(is_sound=st.sampled_from([True, True, True, False]), old=st.booleans())
    def begin_features(self, is_sound: bool, old: bool) -> None:
        raw = self.current(RAW)
        kept = [version.snapshot for version in self.expected.versions[RAW] if version.snapshot]
        used = kept[0] if old and kept else raw
        inputs, run_id = (used, self.current(MODEL)), self.run_id("features")
        try:
            writer = begin_features(self.tables, run_id, self.rows_of, inputs, is_sound)
        except ConcurrentWriteError:
            assert used.version != raw.version
            return
        assert used.version == raw.version
        self.writers.append(writer)

    @precondition(lambda self: len(self.writers) < MOST_WRITERS)
    @rule(asset=st.sampled_from([RAW, FEATURES]))
    def begin_compaction(self, asset: str) -> None:
        if self.exists(asset):
            write = self.tables.begin(asset, self.run_id("compaction"))
            assert write.before is not None
            write.inputs.update(write.before.record.inputs)  # type: ignore[attr-defined]
            self.writers.append(plan_compaction(write, self.rows_of))

    @precondition(lambda self: any(not writer.has_written for writer in self.writers))
    @rule(index=choices, crash=crashes)
    def write_files(self, index: int, crash: int | None) -> None:
        ready = [writer for writer in self.writers if not writer.has_written]
        writer = ready[index % len(ready)]
        before = set(self.folder.rglob("*"))
        if not self.perform(crash, lambda: self.write(writer)):
            self.writers.remove(writer)
        if writer.outlived_erasure:
            self.expected.exempt |= set(self.folder.rglob("*")) - before

    @precondition(lambda self: any(writer.has_written for writer in self.writers))
    @rule(index=choices, crash=crashes)
    def commit_files(self, index: int, crash: int | None) -> None:
        ready = [writer for writer in self.writers if writer.has_written]
        writer = ready[index % len(ready)]
        self.writers.remove(writer)
        is_late, is_sound = self.is_late(writer), all(new.is_sound for new in writer.new)
        try:
            self.perform(crash, lambda: self.commit(writer))
        except ConcurrentWriteError:
            self.expected.forget_announced()
            assert is_late
            return
        except AuditError:
            assert not is_sound
            return
        except FileNotFoundError:
            assert writer.outlived_erasure, "its files are gone"
            return
        assert crash is not None or (is_sound and not is_late)

    def is_late(self, writer: Writer) -> bool:
        """Whether another run has committed since it began."""
        write, now = writer.write, self.expected.current(writer.asset)
        inputs = {asset: self.expected.current(asset) for asset in write.inputs}
        moved = any(now and now.number != write.inputs[asset] for asset, now in inputs.items())
        if write.before is None:
            return now is not None or moved
        return now is not None and now.number != write.before.version

    @precondition(lambda self: self.writers)
    @rule(index=choices)
    def kill(self, index: int) -> None:
        self.writers.pop(index % len(self.writers))

    @rule(asset=st.sampled_from(ASSETS), crash=crashes)
    def vacuum(self, asset: str, crash: int | None) -> None:
        self.perform(crash, lambda: self.tables.vacuum(asset))

    @rule()
    def let_a_week_pass(self) -> None:
        """No run takes so long."""
        self.writers.clear()
        for path in self.folder.rglob("*"):
            then = path.stat().st_mtime - SECONDS_OF_A_WEEK
            if re.fullmatch(r"\d{20}\.json", path.name):
                path.write_bytes(
                    re.sub(rb'("deletionTimestamp":)(\d+)', _a_week_ago, path.read_bytes())
                )
            os.utime(path, (then, then))

    @precondition(lambda self: self.exists(RAW) and not any(w.is_first for w in self.writers))
    @rule(owner=st.sampled_from(OWNERS), crash=crashes)
    def erase(self, owner: str, crash: int | None) -> None:
        """As `fruits erase` does: one that died is completed before another begins."""
        self.erasing = owner = self.erasing or owner
        theirs = {row for rows in self.rows_of.values() for row in rows if owner_of(row) == owner}
        if not self.perform(crash, lambda: self.erase_owner(owner)):
            self.expected.purged()
            return
        self.expected.purged()
        self.erasing = None
        self.expected.erased |= theirs
        for writer in self.writers:
            writer.outlived_erasure = True

    def erase_owner(self, owner: str) -> None:
        run_id, tables = self.run_id("erasure"), self.tables
        write = tables.begin(RAW, run_id)
        assert write.before is not None
        there = {row for file in write.before.files for row in self.rows_of[file.name]}
        gone = {row for row in there if owner_of(row) == owner}
        self.make(plan_pictures(write, self.rows_of, (), gone))
        if tables.find(FEATURES):
            inputs = (tables.current(RAW), tables.current(MODEL))
            self.make(begin_features(tables, run_id, self.rows_of, inputs))
        for asset in PREFIXES:
            if asset in ASSETS and (now := self.will_be_current(asset)):
                self.expected.announce(asset, Version(f"{run_id}-purge", now.rows, now.model))
        purge(tables, f"{run_id}-purge")

    def will_be_current(self, asset: str) -> Version | None:
        pending = self.expected.pending[asset]
        return pending[-1] if pending else self.expected.current(asset)

    def make(self, writer: Writer) -> None:
        """Write and commit."""
        self.write(writer)
        self.commit(writer)

    @precondition(lambda self: self.exists(RAW) and not any(w.is_first for w in self.writers))
    @rule(crash=crashes)
    def purge(self, crash: int | None) -> None:
        def purge_all() -> None:
            run_id = self.run_id("purge")
            for asset in PREFIXES:
                if asset in ASSETS and (now := self.expected.current(asset)):
                    self.expected.announce(asset, Version(run_id, now.rows, now.model))
            purge(self.tables, run_id)

        self.perform(crash, purge_all)
        self.expected.purged()

    @invariant()
    def every_promise_holds(self) -> None:
        next(steps_done)
        self.expected.check()


def _a_week_ago(found: re.Match[bytes]) -> bytes:
    return found[1] + str(int(found[2]) - SECONDS_OF_A_WEEK * 1000).encode()


def unchanged(change: Change) -> bool:
    return change.is_empty


_ = time
