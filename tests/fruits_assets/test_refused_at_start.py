"""Settings that cannot work end a run before Spark starts, in Dagster's own command line."""

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

Materialize = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def materialize(tmp_path: Path) -> Materialize:
    """Materialize everything in a fresh process with these settings."""

    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        storage = {"FRUITS_STORAGE": str(tmp_path / "data")}
        command = [sys.executable, "-c", MATERIALIZE, "--select", "*"]
        command += ["-m", "fruits_assets.definitions"]
        environment = os.environ | storage | settings
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_missing_input_is_named_before_spark_starts(
    materialize: Materialize, tmp_path: Path
) -> None:
    folder = tmp_path / "missing"
    done = materialize(FRUITS_INPUT=str(folder))
    assert done.returncode == 1
    assert f"The input {folder} does not exist" in done.stderr
    assert "JVM started: False" in done.stdout
    assert not (tmp_path / "data").exists()


def test_an_empty_input_is_named_before_spark_starts(
    materialize: Materialize, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    (folder / "Training").mkdir(parents=True)
    done = materialize(FRUITS_INPUT=str(folder))
    assert done.returncode == 1
    assert f"The input {folder} holds no file" in done.stderr
    assert "JVM started: False" in done.stdout
    assert not (tmp_path / "data").exists()


def test_missing_weights_are_named_before_spark_starts(
    materialize: Materialize, tmp_path: Path
) -> None:
    file = tmp_path / "missing.h5"
    done = materialize(FRUITS_WEIGHTS=str(file))
    assert done.returncode == 1
    assert f"The weights {file} do not exist" in done.stderr
    assert "JVM started: False" in done.stdout
    assert not (tmp_path / "data").exists()


def test_weights_that_do_not_fit_are_named_before_spark_starts(
    materialize: Materialize, tmp_path: Path
) -> None:
    file = tmp_path / "other.h5"
    file.write_bytes(b"no weights")
    done = materialize(FRUITS_WEIGHTS=str(file))
    assert done.returncode == 1
    assert f"The weights {file} are not those of a Keras MobileNetV2 without top" in done.stderr
    assert "Set FRUITS_WEIGHTS to `imagenet`" in done.stderr
    assert "JVM started: False" in done.stdout
    assert not (tmp_path / "data").exists()


def test_a_bad_setting_is_named_before_anything_is_loaded(
    materialize: Materialize, tmp_path: Path
) -> None:
    done = materialize(FRUITS_REGION="eu-west-2")
    assert done.returncode == 1
    assert "FRUITS_REGION='eu-west-2'" in done.stderr
    assert "Paris is eu-west-3" in done.stderr
    assert "JVM started: False" in done.stdout
    assert not (tmp_path / "data").exists()
