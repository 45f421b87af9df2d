"""Mutated pictures through ingest: each is accounted for, and none kills a worker.

`uv run python -m tests.fuzz` tries 10,000; these tests use the first few hundred.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.features.inference import Engine, compute_features
from spark_src.features.model import MobilenetModel
from spark_src.images.ingest import row_of_file
from spark_src.images.rejection import Limits
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.tables.schemas import RAW_IMAGES
from tests.fuzz.__main__ import MAX_MEGABYTES, MAX_SECONDS, SEEDS, ingest_outcomes
from tests.fuzz.bombs import BOMBS
from tests.fuzz.mutants import KINDS, SEED, Mutant, mutants, seeds
from tests.fuzz.trial import ACCEPTED, Trial, try_file, warm_engine

COUNT = 300
MEGAPIXELS = 0.2


@pytest.fixture(scope="module")
def files() -> list[Mutant]:
    """Small mutants of every kind."""
    return list(mutants(seeds(SEEDS[:1]), COUNT, MEGAPIXELS))


@pytest.fixture(scope="module")
def engine(mobilenet: MobilenetModel) -> Engine:
    return warm_engine(mobilenet.content)


def bomb_trials(megapixels: float, model: bytes) -> dict[str, Trial]:
    """A full-size bomb of every kind."""
    random, engine = np.random.default_rng(SEED), warm_engine(model)
    return {kind: try_file(make(random, megapixels), engine) for kind, make in BOMBS.items()}


def test_every_mutant_is_in_one_table_with_the_same_reason_as_when_tried_alone(
    files: list[Mutant], spark: SparkSession, tmp_path: Path
) -> None:
    alone = {}
    for file in files:
        (tmp_path / file.name).write_bytes(file.content)
        row = row_of_file(file.name, file.content, DEFAULT_LIMITS)
        alone[file.name] = row.get("reason", ACCEPTED)
    assert ingest_outcomes(spark, tmp_path) == alone
    assert len(set(alone.values())) > 5
    assert {file.kind for file in files} >= set(KINDS)


def test_every_mutant_that_is_accepted_has_features(files: list[Mutant], engine: Engine) -> None:
    rows = [row_of_file(file.name, file.content, DEFAULT_LIMITS) for file in files]
    accepted = [row for row in rows if "reason" not in row]
    assert len(accepted) > COUNT / 4
    features = compute_features(pa.RecordBatch.from_pylist(accepted, RAW_IMAGES), engine)
    assert features.shape == (len(accepted), 1280)
    assert np.isfinite(features).all()


def test_every_bomb_stays_within_a_workers_memory_and_time_limits(
    mobilenet: MobilenetModel,
) -> None:
    # A new process has a worker's memory use. `multiprocessing.Pool` would end it by SIGTERM, which
    # it ignores if the tests' own process does.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        trials = pool.submit(bomb_trials, Limits().max_pixels / 1e6, mobilenet.content).result()
    assert set(trials) == set(BOMBS)
    assert {kind: trial for kind, trial in trials.items() if " " in trial.outcome} == {}
    assert max(trial.seconds for trial in trials.values()) < MAX_SECONDS
    assert max(trial.megabytes for trial in trials.values()) < MAX_MEGABYTES


def test_the_same_seed_gives_the_same_mutants(files: list[Mutant]) -> None:
    originals = seeds(SEEDS[:1])
    assert list(mutants(originals, 60, MEGAPIXELS)) == files[:60]
    assert list(mutants(originals, 60, MEGAPIXELS, seed=7)) != files[:60]


def test_a_killed_worker_is_distinguished_from_a_rejection(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert try_file(b"", engine).outcome == "empty_file"
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", kill)
    assert try_file(b"", engine).outcome == "killed by SIGKILL"


def test_a_hanging_worker_is_killed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.trial.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", lambda *_: time.sleep(60))
    assert try_file(b"", engine).outcome == "killed by SIGKILL"


def test_memory_use_of_a_worker_is_measured(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swell(*_: object) -> dict[str, str]:
        return {"reason": f"{len(b'x' * 300 * 2**20)}"}

    before = try_file(b"", engine).megabytes
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", swell)
    assert try_file(b"", engine).megabytes > before + 250
