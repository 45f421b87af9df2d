"""Runs, erasures and vacuums in any order, each of which may be killed at any file operation.

After each step, the current versions are complete and audited, no commit is lost, and no erased
data has returned: see `expected.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spark_src.contract import PREFIXES
from spark_src.erasure.purge import purge
from spark_src.errors import AuditError, ConcurrentWriteError, UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
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
MAX_WRITERS = 3
EIGHT_DAYS_SECONDS = 8 * 24 * 60 * 60

crashes = st.none() | st.integers(1, 9)
"""The file operation in which the process of a step is killed."""

late_crashes = st.none() | st.integers(1, 12) | st.integers(1, 40)
"""The same for an erasure, which has more operations."""

KINDS = ("pictures", "model", "features", "compaction")


@dataclass(frozen=True)
class Plan:
    """The actions of a run."""

    kind: str
    owners: list[str]
    """Owners of new pictures."""
    gone: list[int]
    """Indices of pictures that were removed from the input."""
    digest: str
    """Digest of the model that the run creates."""
    compacted: str
    is_valid: bool


plans = st.builds(
    Plan,
    kind=st.sampled_from(KINDS),
    owners=st.lists(st.sampled_from(OWNERS), max_size=3),
    gone=st.lists(st.integers(0, 9), max_size=2),
    digest=st.sampled_from(["m0", "m1"]),
    compacted=st.sampled_from([RAW, FEATURES]),
    is_valid=st.booleans(),
)


class TablesMachine(RuleBasedStateMachine):
    """A storage, and a few concurrent runs."""

    counts: ClassVar[Counter[str]] = Counter()
    """Counts of events in all examples."""

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
        self.runs_since_purge = 0
        self.numbers = count()
        self.counts["examples"] += 1

    def teardown(self) -> None:
        self.stack.close()

    @property
    def tables(self) -> Tables:
        """The tables, opened again as in a new process."""
        return Tables(self.root)

    def run_id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def exists(self, *assets: str) -> bool:
        return all(self.expected.current(asset) for asset in assets)

    @property
    def may_purge(self) -> bool:
        """Whether there is new data to purge, and no first run whose commit would not conflict."""
        firsts = any(writer.is_first for writer in self.writers)
        return self.exists(RAW) and self.runs_since_purge > 2 and not firsts

    def perform(self, crash: int | None, work: Callable[[], object]) -> bool:
        """Run one process; return whether it completed."""
        completed = self.operations.run(crash, work)
        made = self.expected.settle(completed)
        self.runs_since_purge += made
        self.counts["commits"] += made
        self.counts["crashes"] += not completed
        return completed

    def begin_writer(self, plan: Plan) -> Writer:
        """Start a run of the planned kind, or of pictures if its inputs do not exist yet."""
        run_id = self.run_id(plan.kind)
        if plan.kind == "features" and self.exists(RAW, MODEL):
            inputs = (self.tables.current(RAW), self.tables.current(MODEL))
            return begin_features(self.tables, run_id, self.rows_of, inputs, plan.is_valid)
        if plan.kind == "model":
            return plan_model(self.tables.begin(MODEL, run_id), plan.digest)
        if plan.kind == "compaction" and self.exists(asset := plan.compacted):
            write = self.tables.begin(asset, run_id)
            assert write.before is not None
            write = replace(write, inputs=write.before.record.inputs)
            return plan_compaction(write, self.rows_of)
        now = self.expected.current(RAW)
        there = sorted(now.rows) if now else []
        gone = {there[place % len(there)] for place in plan.gone} if there else set()
        new = frozenset(f"photos/{owner}/{next(self.numbers):04}.jpg" for owner in plan.owners)
        return plan_pictures(self.tables.begin(RAW, run_id), self.rows_of, new, gone)

    def write(self, writer: Writer) -> None:
        try:
            writer.write_files()
        finally:
            self.rows_of |= writer.files

    def commit(self, writer: Writer) -> None:
        """Commit in the current process."""
        change = writer.change()
        version = Version(writer.write.run_id, writer.rows, writer.model)
        self.expected.announce(writer.asset, version)
        change.commit()

    def make(self, writer: Writer) -> None:
        """A complete run in the current process."""
        self.write(writer)
        self.commit(writer)

    @initialize(plan=plans, depth=st.integers(0, 3))
    def begin_with_something(self, plan: Plan, depth: int) -> None:
        """Start with the first `depth` of pictures, a model and features."""
        for kind in KINDS[:depth]:
            self.run(replace(plan, kind=kind, is_valid=True), None)

    @rule(plan=plans, crash=crashes)
    def run(self, plan: Plan, crash: int | None) -> None:
        """A run without concurrent runs."""
        writer = self.begin_writer(plan)
        is_valid = all(new.is_valid for new in writer.new)
        try:
            completed = self.perform(crash, lambda: self.make(writer))
            assert not completed or is_valid, "features with NaN were committed"
        except AuditError:
            assert not is_valid
            self.counts["audits that failed"] += 1

    @precondition(lambda self: len(self.writers) < MAX_WRITERS)
    @rule(plan=plans, writes=st.booleans())
    def begin(self, plan: Plan, writes: bool) -> None:
        """Start a run that stays active during later steps."""
        writer = self.begin_writer(replace(plan, is_valid=True))
        if writes:
            self.write(writer)
        self.writers.append(writer)

    @precondition(lambda self: self.writers)
    @rule(place=st.integers(0, 2))
    def continue_without_crash(self, place: int) -> None:
        self.continue_run(place, None)

    @precondition(lambda self: self.writers)
    @rule(place=st.integers(0, 2), crash=crashes)
    def continue_run(self, place: int, crash: int | None) -> None:
        """Continue an active run: write its files, or commit them if they are written."""
        writer = self.writers.pop(place % len(self.writers))
        if writer.has_written:
            self.commit_late(writer, crash)
            return
        before = set(self.folder.rglob("*"))
        if self.perform(crash, lambda: self.write(writer)):
            self.writers.append(writer)
        if writer.outlived_erasure:
            self.expected.exempt |= set(self.folder.rglob("*")) - before

    def commit_late(self, writer: Writer, crash: int | None) -> None:
        is_late = self.is_late(writer)
        try:
            completed = self.perform(crash, lambda: self.commit(writer))
            assert not (is_late and completed), "an outdated run committed"
        except ConcurrentWriteError:
            self.expected.drop_announced()
            assert is_late
            self.counts["commits refused"] += 1
        except UnreadableVersionError:  # raised by the audit: a purge deleted its files
            assert is_late and writer.asset == FEATURES and writer.outlived_erasure

    def is_late(self, writer: Writer) -> bool:
        """Whether another run has committed since this one started."""
        before, now = writer.write.before, self.expected.current(writer.asset)
        if before is not None:
            return now is None or now.number != before.version
        inputs = {asset: self.expected.current(asset) for asset in writer.write.inputs}
        moved = any(v and v.number != writer.write.inputs[asset] for asset, v in inputs.items())
        return now is not None or moved

    @precondition(lambda self: any(len(known) > 2 for known in self.expected.versions.values()))
    @rule(asset=st.sampled_from(ASSETS), after_a_week=st.booleans(), crash=crashes)
    def vacuum(self, asset: str, after_a_week: bool, crash: int | None) -> None:
        if after_a_week:
            self.age_by_a_week()
        self.perform(crash, lambda: self.tables.vacuum(asset))
        self.counts["vacuums"] += 1

    def age_by_a_week(self) -> None:
        """Make all files older, and end all active runs."""
        self.writers.clear()
        for path in self.folder.rglob("*"):
            then = path.stat().st_mtime - EIGHT_DAYS_SECONDS
            if re.fullmatch(r"\d{20}\.json", path.name):
                path.write_bytes(re.sub(rb'("deletionTimestamp":)(\d+)', _older, path.read_bytes()))
            os.utime(path, (then, then))

    @precondition(lambda self: self.may_purge)
    @rule(owner=st.sampled_from(OWNERS), crash=late_crashes)
    def erase(self, owner: str, crash: int | None) -> None:
        """As in `fruits erase`: a killed erasure is completed before another one starts."""
        self.erasing = owner = self.erasing or owner
        theirs = {row for rows in self.rows_of.values() for row in rows if owner_of(row) == owner}
        completed = self.perform(crash, lambda: self.erase_owner(owner))
        self.runs_since_purge *= not completed
        self.expected.purged()
        if completed:
            self.erasing = None
            self.expected.erased |= theirs
            self.counts["erasures"] += 1
            for writer in self.writers:
                writer.outlived_erasure = True

    def erase_owner(self, owner: str) -> None:
        run_id, tables = self.run_id("erasure"), self.tables
        write = tables.begin(RAW, run_id)
        assert write.before is not None
        there = {row for file in write.before.files for row in self.rows_of[file.name]}
        gone = {row for row in there if owner_of(row) == owner}
        self.make(plan_pictures(write, self.rows_of, (), gone))
        if self.exists(FEATURES):
            inputs = (tables.current(RAW), tables.current(MODEL))
            self.make(begin_features(tables, run_id, self.rows_of, inputs))
        self.purge_all(run_id)

    def purge_all(self, run_id: str) -> None:
        for asset in PREFIXES:
            known = self.expected.pending[asset] or self.expected.versions.get(asset, [])
            if known:
                version = Version(f"{run_id}-purge", known[-1].rows, known[-1].model)
                self.expected.announce(asset, version)
        purge(self.tables, f"{run_id}-purge")

    @precondition(lambda self: self.may_purge)
    @rule(crash=late_crashes)
    def purge(self, crash: int | None) -> None:
        completed = self.perform(crash, lambda: self.purge_all(self.run_id("purge")))
        self.runs_since_purge *= not completed
        self.expected.purged()
        for writer in self.writers:
            writer.outlived_erasure = True

    @invariant()
    def all_invariants_hold(self) -> None:
        self.counts["steps"] += 1
        self.expected.check()


def hypothesis_settings(
    examples: int, steps: int, repeatable: bool = False, shrink: bool = False
) -> settings:
    """Hypothesis settings: number and length of histories, repeatable or random."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=repeatable,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _older(found: re.Match[bytes]) -> bytes:
    return found[1] + str(int(found[2]) - EIGHT_DAYS_SECONDS * 1000).encode()
