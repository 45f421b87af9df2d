"""Two people's pictures in a materialized graph, built once, and copies for erasures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from fruits_assets.cli.main import app
from spark_src.contract import PREFIXES
from spark_src.erasure.target import Target
from tests.fruits_assets.erasure.pipeline import (
    OTHER,
    SUBJECT,
    Erase,
    Run,
    error_of,
    run_job,
    source_in,
)
from tests.pipeline import tables_in


@pytest.fixture(scope="session")
def before(
    run: Run, copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Input and storage after a full run, with pictures of two people and others, one damaged."""
    folder = tmp_path_factory.mktemp("erasure")
    source = copy_pictures(folder / "input", 80)
    (source / "Training").rename(source / "shop")  # without this split, PCA is fitted on all images
    every = sorted(source.rglob("*.jpg"))
    for number, picture in enumerate(every[:50]):
        target = source / "photos" / (SUBJECT if number < 40 else OTHER) / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.rename(target)
    for name in (SUBJECT, OTHER):  # both people have this one, and each has a damaged one
        shutil.copy(every[60], source / "photos" / name / "shared.jpg")
        (source / "photos" / name / "broken.jpg").write_bytes(b"no picture")
    few = {"pca_model": {"n_components": 5}}
    run(folder / "data", "*", source=source, ops=few)
    return folder


@pytest.fixture(scope="session")
def copy(set_statistics: Callable[..., object]) -> Callable[[Path, Path], Path]:
    """Copy input and storage for a test."""

    def copied(before: Path, folder: Path) -> Path:
        own = Path(shutil.copytree(before, folder))
        for asset in ("raw_images", "rejected_images"):
            set_statistics(own / "data", asset, input=source_in(own).uri)
        return own

    return copied


@pytest.fixture
def own(before: Path, tmp_path: Path, copy: Callable[[Path, Path], Path]) -> Path:
    """A copy of input and storage for the test."""
    return copy(before, tmp_path / "own")


@pytest.fixture
def erase(own: Path, spark: SparkSession) -> Erase:
    """Run the job on the test's copy."""
    assert spark.getActiveSession() is not None
    return lambda target=None, instance=None: run_job(own, target, instance)


@pytest.fixture(scope="session")
def erased(
    before: Path,
    spark: SparkSession,
    copy: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dg.ExecuteInProcessResult]:
    """Input and storage after an erasure with leftovers of a killed features run. Read-only."""
    own = copy(before, tmp_path_factory.mktemp("erased") / "own")
    features = tables_in(own / "data").current("mobilenet_features")
    staged = own / "data" / PREFIXES["mobilenet_features"] / "_staged" / "fingerprint"
    staged.mkdir(parents=True)
    shutil.copy(features.locations[0].path, staged / "part-1.parquet")
    assert spark.getActiveSession() is not None
    result = run_job(own, Target.from_names(SUBJECT))
    assert result.success, error_of(result)
    return own, result


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:  # an ephemeral instance stores no sensors
        yield instance


@pytest.fixture
def fruits(
    own: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run the command `fruits` with simulated input."""
    monkeypatch.setenv("FRUITS_STORAGE", str(own / "data"))
    monkeypatch.setenv("FRUITS_INPUT", str(own / "input"))
    assert spark.getActiveSession() is not None

    def call(*words: str, typed: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(app, words, input=typed)
        return done.exit_code, " ".join(done.output.split())

    return call
