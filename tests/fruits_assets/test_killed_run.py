"""A whole run killed in mid-features: what was current stays, the next run clears up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from spark_src.storage import Version

COMMAND = ["-m", "dagster", "asset", "materialize", "-m", "fruits_assets.definitions"]
PATIENCE = 120


@pytest.fixture
def killed(copied: Path, copy_pictures: Callable[..., Path], tmp_path: Path) -> Path:
    """The storage root as a run leaves it that was killed while it computed features."""
    source = copy_pictures(tmp_path / "input", 240, copies=3)
    settings = {"FRUITS_INPUT": str(source), "FRUITS_STORAGE": str(copied)}
    log = tmp_path / "run.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *COMMAND, "--select", "raw_images*"],
            env=os.environ | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not list((copied / "Results" / "drafts").glob("*.json")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None, log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return copied


def test_a_run_killed_in_mid_features_harms_nothing_and_the_next_one_clears_up(
    killed: Path,
    stored: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    current: Callable[[Path, str], Version],
    half_written: Callable[[Path, str], list[str]],
) -> None:
    before = current(stored, "mobilenet_features")
    old = current(killed, "mobilenet_features")
    assert old.name == before.name
    assert old.facts == before.facts
    assert pq.read_table(old.location.path).num_rows == 240
    assert current(killed, "raw_images").rows == 720
    abandoned = half_written(killed, "mobilenet_features")
    assert len(abandoned) == 2, "the run was killed too late: nothing half-written is there"

    result = run(killed, "raw_images+")

    assert result.success
    assert current(killed, "mobilenet_features").name not in {old.name, *abandoned}
    assert current(killed, "csv_export").rows == 240
    assert half_written(killed, "mobilenet_features") == []
    assert pq.read_table(old.location.path).num_rows == 240
