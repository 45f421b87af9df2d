"""Invalid settings fail a run of Dagster's command line before Spark starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MATERIALIZE = """
import atexit, runpy, sys
import pyspark
atexit.register(lambda: print("JVM started:", pyspark.SparkContext._gateway is not None))
sys.argv = ["dagster", "asset", "materialize", *sys.argv[1:]]
runpy.run_module("dagster", run_name="__main__")
"""

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Materialize everything in a new process with these settings; return the error message. It has
    to fail before Spark starts and before anything is stored.
    """

    def run(**settings: str) -> str:
        storage = {"FRUITS_STORAGE": str(tmp_path / "data")}
        command = [sys.executable, "-c", MATERIALIZE, "--select", "*"]
        command += ["-m", "fruits_assets.definitions"]
        environment = os.environ | storage | settings
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "JVM started: False" in done.stdout
        assert not (tmp_path / "data").exists()
        return done.stderr

    return run


def test_a_missing_input_is_named_before_spark_starts(refusal: Refusal, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    assert f"The input {folder} does not exist" in refusal(FRUITS_INPUT=str(folder))


def test_an_empty_input_is_named_before_spark_starts(refusal: Refusal, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    (folder / "Training").mkdir(parents=True)
    assert f"The input {folder} contains no files" in refusal(FRUITS_INPUT=str(folder))


def test_missing_weights_are_named_before_spark_starts(refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / "missing.h5"
    assert f"The weights {file} do not exist" in refusal(FRUITS_WEIGHTS=str(file))


def test_weights_that_do_not_fit_are_named_before_spark_starts(
    refusal: Refusal, tmp_path: Path
) -> None:
    file = tmp_path / "other.h5"
    file.write_bytes(b"no weights")
    message = refusal(FRUITS_WEIGHTS=str(file))
    assert f"The weights {file} are not those of a Keras MobileNetV2 without top" in message
    assert "Set FRUITS_WEIGHTS to `imagenet`" in message


def test_a_bad_setting_is_named_before_anything_is_loaded(refusal: Refusal) -> None:
    message = refusal(FRUITS_REGION="eu-west-2")
    assert "FRUITS_REGION='eu-west-2'" in message
    assert "Paris is eu-west-3" in message
