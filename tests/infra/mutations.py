"""Weakens the Terraform module in one place at a time and shows which test detects it.

    uv run python -m tests.infra.mutations              a fifth of them, a different fifth each day
    uv run python -m tests.infra.mutations --all        all of them
    uv run python -m tests.infra.mutations part of the name

The complete plan of each weakened module is compared with the tables of planned.py. If there is no
difference, the Terraform test file that should detect the change is run. mutations.toml was written
together with the tests; mutations_of_attackers.toml was written from AWS's documentation and an
attacker's view, without looking at the tests. Exit code 1 if a weakened module passes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.infra import planned
from tests.infra.module import copy, init, terraform

_TABLES = [Path(__file__).with_name(f"mutations{part}.toml") for part in ("", "_of_attackers")]
_SHARE = 5
_NOTICED = ("Test assertion failed", "Missing expected failure")


@dataclass(frozen=True)
class Mutation:
    """A replacement of a text in a file, and the test file that should detect it.

    Without an old text, the new text is appended; without tests, only the plan is compared.
    """

    name: str
    file: str
    new: str
    old: str = ""
    tests: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of one mutation; `message` is that of the failing test, or why none failed."""

    mutation: Mutation
    caught: bool
    message: str


def run(mutation: Mutation, prepared: Path) -> Outcome:
    """Weaken a copy of the prepared module and run the test file that should detect it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "copy"
        shutil.copytree(prepared, target, symlinks=True)
        file = target / mutation.file
        text = file.read_text()
        if mutation.old and text.count(mutation.old) != 1:
            return Outcome(mutation, False, f"its old text occurs {text.count(mutation.old)} times")
        old, new = mutation.old or text, mutation.new if mutation.old else f"{text}\n{mutation.new}"
        file.write_text(text.replace(old, new))
        return _evaluate(mutation, target / "infra")


def _evaluate(mutation: Mutation, module: Path) -> Outcome:
    try:
        # The first table detects most of them, in a third of the time.
        changed = planned.differences(module, planned.RUNS[:1]) or planned.differences(module)
    except planned.PlanError as error:
        # An invalid module is not a weakened one: fix the mutation.
        return Outcome(mutation, False, f"invalid module: {error}")
    if changed:
        first = next(line for line in changed.splitlines()[2:] if line[:1] in "+-")
        return Outcome(mutation, True, f"planned: {' '.join(first.split())}")
    if not mutation.tests:
        return Outcome(mutation, False, "NOTHING")
    tests = f"-filter=tests/{mutation.tests}.tftest.hcl"
    errors = list(_errors(terraform(module, "test", "-json", tests, check=False).stdout))
    noticed = [error for error in errors if error["summary"] in _NOTICED]
    if noticed:
        return Outcome(mutation, True, f"{mutation.tests}: {_message(noticed[0])}")
    return Outcome(mutation, False, f"invalid module: {errors[0]}" if errors else "NOTHING")


def _errors(lines: str) -> Iterator[dict[str, str]]:
    for line in lines.splitlines():
        found = json.loads(line) if line.startswith("{") else {}
        if found.get("type") == "diagnostic" and found["diagnostic"]["severity"] == "error":
            yield found["diagnostic"]


def _message(error: dict[str, str]) -> str:
    if error["summary"] == "Missing expected failure":
        return "an invalid value is accepted: " + " ".join(error["detail"].split()).split(", ")[1]
    return error["detail"].strip()


def main() -> int:
    """Run the mutations in parallel; 0 if all are caught."""
    started = time.monotonic()
    every = [one for file in _TABLES for one in tomllib.loads(file.read_text())["mutation"]]
    mutations = [Mutation(**one) for one in every]
    words = [word for word in sys.argv[1:] if word != "--all"]
    mutations = [one for one in mutations if all(word in one.name for word in words)]
    if len(sys.argv) == 1:
        mutations = mutations[date.today().toordinal() % _SHARE :: _SHARE]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "module"
        init(copy(prepared))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = list(pool.map(lambda one: run(one, prepared), mutations))
    table = Table("mutation", "caught by", show_lines=False)
    for outcome in outcomes:
        table.add_row(outcome.mutation.name, outcome.message)
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    caught = sum(outcome.caught for outcome in outcomes)
    seconds = time.monotonic() - started
    sys.stdout.write(f"mutations: {caught} of {len(outcomes)} caught, {seconds:.0f} s\n")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
