"""Erases forty people with odd names by commands that are killed repeatedly, then scans all data.

    uv run python -m tests.erasure_attack --kills 12

Takes some minutes, because each command is a separate process with its own Spark. The version for
pytest runs in one process: tests/fruits_assets/erasure/test_erasure_attack.py.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from spark_src.erasure import requests
from spark_src.erasure.target import Target, subject_in_tables
from spark_src.io.locations import Location
from spark_src.tables.parquet import read_columns
from tests.erasure_scanner import files_with
from tests.fruits_assets.erasure.odd_people import MARKER, ODD_NAMES, STAYING, write_photos
from tests.pipeline import tables_in

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "sample" / "fruits-360" / "Test"
BY_COMMAND = ODD_NAMES[1:4]
"""Passed to the command; requests for the others are created directly, without 40 processes."""


class Attack:
    """Input, storage, Dagster home and temporary folder in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("input", "home", "tmp"):
            (folder / name).mkdir()
        shutil.copytree(SAMPLE, folder / "input" / "shop")
        write_photos(folder / "input")
        self.environment = os.environ | {
            "FRUITS_INPUT": str(folder / "input"),
            "FRUITS_STORAGE": str(folder / "data"),
            "FRUITS_SHOW_PHOTOS": "true",  # the worst case: pictures in Dagster's records
            "DAGSTER_HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={folder / 'tmp'}",
        }
        os.environ["DAGSTER_HOME"] = str(folder / "home")

    def hits(self) -> list[str]:
        """Locations of the people's data, found by the tests' own scanner."""
        return files_with(MARKER, self.folder)

    def materialize(self, select: str, kill_after: float | None = None) -> None:
        """Start a run; if killed, it leaves its scratch, its files and its record."""
        command = ["dagster", "asset", "materialize", "--select", select]
        code = self._run(command, kill_after)
        if kill_after is None and code:
            raise SystemExit("A run failed unexpectedly: see attack.log.")
        with dg.DagsterInstance.get() as instance:
            for run in instance.get_runs(
                filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
            ):
                instance.delete_run(run.run_id)  # the remedy in the error message of `fruits erase`

    def erase(self, *arguments: str, kill_after: float | None = None) -> int:
        """Run the command; return its exit code, negative if it was killed."""
        return self._run(["fruits", "erase", *arguments], kill_after)

    def request_the_others(self) -> None:
        """Store a pending request for each person who is not erased by a command."""
        tables, source = tables_in(self.folder / "data"), Location.parse(str(self.folder / "input"))
        for name in ODD_NAMES:
            target = Target.from_names(subject_in_tables(name, source))
            if name not in BY_COMMAND and not requests.is_pending(tables, target):
                requests.store(tables, target)

    def staying(self) -> set[str]:
        """People whose photos are still in the tables."""
        files = tables_in(self.folder / "data").current("pca_components").locations
        paths = read_columns(files, ["path"])["path"].to_pylist()
        return {path.split("/")[1] for path in paths if path.startswith("photos/")}

    def _run(self, command: Sequence[str], kill_after: float | None) -> int:
        program = Path(sys.executable).with_name(command[0])
        with (self.folder.parent / "attack.log").open("a") as log:
            process = subprocess.Popen(
                [program, *command[1:]],
                env=self.environment,
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return process.wait()


def main() -> None:
    """Run the attack and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="how often the erasure is killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - has to be repeatable
    with tempfile.TemporaryDirectory(prefix="erasure-attack-") as parent:
        attack = Attack(Path(tempfile.mkdtemp(dir=parent)))
        started = time.monotonic()
        attack.materialize("*")
        whole = time.monotonic() - started  # an erasure takes about as long on the same machine
        attack.materialize("*", kill_after=whole * chance.uniform(0.2, 0.5))
        _say(f"before: the marker is in {len(attack.hits())} files and names")
        for name in BY_COMMAND:
            attack.erase("--subject", name, "--yes", kill_after=whole * chance.uniform(0.2, 0.6))
        attack.request_the_others()
        started = time.monotonic()
        for number in range(options.kills):
            code = attack.erase(kill_after=whole * chance.uniform(0.2, 1.2))
            _say(f"kill {number + 1}: exit code {code}, {len(attack.hits())} hits left")
        for name in BY_COMMAND:
            attack.erase("--subject", name, "--yes")
        code = attack.erase() if attack.hits() else 0
        hits, staying = attack.hits(), attack.staying()
        _say(f"after {time.monotonic() - started:.0f} s: exit code {code}, hits {len(hits)}")
        if hits or staying != set(STAYING):
            raise SystemExit(f"hits: {hits}; remaining people: {sorted(staying)}; {parent}")
        _say(f"0 hits; {len(staying)} people and the shop's pictures remain")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
