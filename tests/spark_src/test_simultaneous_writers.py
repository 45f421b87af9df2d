"""Two processes that commit simultaneously: one succeeds, the other gets an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.small_tables import ASSET, add, paths_of

ROUNDS = 20
ROUNDS_IN_S3 = 6

RACER = """
import sys, time
from pathlib import Path
from spark_src.errors import ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.small_tables import ASSET, statistics_of, write_rows

root, meeting, run_id, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for number in range(rounds):
    write = Tables(Location.parse(f"{root}/{number}")).begin(ASSET, run_id)
    paths = [f"{run_id}.jpg"] + ([] if write.before is None else ["old.jpg"])
    file = write_rows(write, paths[0])
    (meeting / f"{number}.{run_id}").touch()
    late = time.monotonic() + 60
    while len(list(meeting.glob(f"{number}.*"))) < 2:
        assert time.monotonic() < late, "the other process is gone"
        time.sleep(0.0002)
    try:
        snapshot = write.commit(statistics_of(paths), [file])
        print(number, snapshot.record.run_id, flush=True)
    except ConcurrentWriteError as error:
        assert "while run " + run_id in str(error)
"""


def race(root: str, meeting: Path, rounds: int) -> dict[int, str]:
    """Let two processes commit simultaneously, repeatedly; return the reported winners."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, root, str(meeting), run_id, str(rounds)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_PROXY": "*"},
        )
        for run_id in ("one", "two")
    ]
    lines = [line for racer in racers for line in racer.communicate(timeout=240)[0].splitlines()]
    assert [racer.returncode for racer in racers] == [0, 0]
    winners = [(int(line.split()[0]), line.split()[1]) for line in lines]
    assert sorted(number for number, _ in winners) == list(range(rounds))
    return dict(winners)


def check(root: str, winners: dict[int, str], old: list[str]) -> None:
    """The current version has only the winner's commit."""
    for number, run_id in winners.items():
        tables = Tables(Location.parse(f"{root}/{number}"))
        current = tables.current(ASSET)
        assert current.record.run_id == run_id
        assert paths_of(current) == sorted([f"{run_id}.jpg", *old])
        assert len(tables.history(ASSET)) == 1 + len(old)


def make(root: str, rounds: int) -> None:
    for number in range(rounds):
        add(Tables(Location.parse(f"{root}/{number}")), "run-0", "old.jpg")


@pytest.mark.parametrize("is_there", [True, False], ids=["append", "create"])
def test_one_of_two_simultaneous_commits_succeeds(tmp_path: Path, is_there: bool) -> None:
    root, meeting = f"{tmp_path}/data", tmp_path / "meeting"
    meeting.mkdir()
    if is_there:
        make(root, ROUNDS)
    check(root, race(root, meeting, ROUNDS), ["old.jpg"] if is_there else [])


@pytest.mark.parametrize("is_there", [True, False], ids=["append", "create"])
def test_one_of_two_simultaneous_commits_to_a_bucket_succeeds(
    bucket: str, tmp_path: Path, is_there: bool
) -> None:
    root = f"s3://{bucket}/data"
    if is_there:
        make(root, ROUNDS_IN_S3)
    check(root, race(root, tmp_path, ROUNDS_IN_S3), ["old.jpg"] if is_there else [])
