"""The output of `fruits run` for successful, failed and cancelled runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

FRUITS = str(Path(sys.executable).with_name("fruits"))
NOISE = ("DEBUG", "superseded", "cudart", "absl", "XNNPACK", "log4j", "Traceback")

INTERRUPTED_CHECK = """
import os, signal, sys
from fruits_assets.cli.main import main
from fruits_assets.resources import Residency
Residency.findings = lambda self: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["fruits", "run", "--select", "raw_images"]
main()
"""
"""`fruits run` on which Ctrl-C is pressed while a check of `raw_images` runs."""


def start(storage: Path, home: Path, pictures: Path, *arguments: str) -> subprocess.Popen[str]:
    home.mkdir(exist_ok=True)
    variables = {"FRUITS_STORAGE": storage, "DAGSTER_HOME": home, "FRUITS_INPUT": pictures}
    return subprocess.Popen(
        [FRUITS, "run", *arguments],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_run(home: Path) -> dg.DagsterRun:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs(limit=1)
        return run


@pytest.fixture(scope="module")
def first(
    copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, str, str, Path]:
    """Exit code, output, errors and folder of a full run on 24 pictures."""
    folder = tmp_path_factory.mktemp("first")
    pictures = copy_pictures(folder / "pictures", 24)
    process = start(folder / "data", folder / "home", pictures, "-k", "3")
    output, errors = process.communicate()
    return process.returncode, output, errors, folder


def test_the_first_command_prints_a_summary_in_less_than_40_lines(
    first: tuple[int, str, str, Path],
) -> None:
    code, output, errors, folder = first
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert len(lines) < 40
    assert [word for word in NOISE if word in output] == []
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert re.search(rf"^{asset} +24 rows +\d+\.\d s$", output, re.MULTILINE), output
    assert f"CSV     {folder}/data/Results_CSV/pca_components.csv" in lines
    assert lines[-2].startswith("next    uv run dagster dev")


def test_the_layout_found_in_the_folder_is_printed_first(
    first: tuple[int, str, str, Path],
) -> None:
    lines = first[1].splitlines()
    (found,) = (number for number, line in enumerate(lines) if line.startswith("24 pictures: "))
    assert not any("rows" in line for line in lines[:found])


def test_a_failing_check_is_named_with_its_remedy(first: tuple[int, str, str, Path]) -> None:
    output = first[1]
    assert "FAILS pca_components: variance_is_explained: 3 components explain 0." in output
    assert "which needs n_components = " in output


def test_the_run_is_one_of_the_code_location(first: tuple[int, str, str, Path]) -> None:
    run = last_run(first[3] / "home")
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert run.tags_for_storage()[".dagster/repository"] == "__repository__@fruits"


def test_unchanged_assets_are_reported_and_need_no_spark(
    first: tuple[int, str, str, Path],
) -> None:
    folder = first[3]
    process = start(folder / "data", folder / "home", folder / "pictures", "--select", "raw_images")
    output, _ = process.communicate()
    assert process.returncode == 0
    assert re.search(r"^raw_images +24 rows +unchanged$", output, re.MULTILINE)


def test_a_failing_run_ends_with_the_error_message(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "mine" / "Training").mkdir(parents=True)
    for number in range(60):
        (pictures / "mine" / "Training" / f"{number}.jpg").write_bytes(b"no picture")
    process = start(tmp_path / "data", tmp_path / "home", pictures)
    output, errors = process.communicate()
    assert process.returncode == 1
    assert "60 of 60 files" in output.splitlines()[-1], output + errors
    assert output.splitlines()[-1].startswith("error: ")
    assert f"Set FRUITS_INPUT to {pictures}/mine." in output
    assert len(output.splitlines()) < 40
    assert [word for word in NOISE if word in output + errors] == []
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        (run,) = instance.get_runs()
        failed = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    failure = failed.records[0].event_log_entry.dagster_event
    assert failure is not None
    described = failure.step_failure_data.user_failure_data
    assert described is not None and "60 of 60 files" in (described.description or "")
    steps = {record.event_log_entry.step_key for record in failed.records}
    assert "mobilenet_features" not in steps


def test_ctrl_c_during_a_check_cancels_the_run(
    tmp_path: Path, copy_pictures: Callable[..., Path]
) -> None:
    """Dagster handles the signal there, and no asset asks for the run to be cancelled."""
    pictures = copy_pictures(tmp_path / "pictures", 6)
    (tmp_path / "home").mkdir()
    folders = {"STORAGE": tmp_path / "data", "INPUT": pictures}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_CHECK],
        env=os.environ
        | {f"FRUITS_{name}": str(folder) for name, folder in folders.items()}
        | {"DAGSTER_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stdout + done.stderr
    assert "error" not in done.stdout and "failed" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next    uv run fruits run")
    assert last_run(tmp_path / "home").status == dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_the_run(
    number: signal.Signals, tmp_path: Path, copy_pictures: Callable[..., Path]
) -> None:
    pictures = copy_pictures(tmp_path / "pictures", 24, copies=20)
    process = start(tmp_path / "data", tmp_path / "home", pictures, "-k", "3")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("run "):
            break
    time.sleep(2)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, rest + errors
    assert "cancelled: finished work is kept" in rest
    assert errors == ""
    assert last_run(tmp_path / "home").status == dg.DagsterRunStatus.CANCELED
