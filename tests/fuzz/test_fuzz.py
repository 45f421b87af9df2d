"""Ingests mutated pictures: each is accounted for, and none crashes a worker.

`uv run python -m tests.fuzz` tries 10,000; here are some hundred of the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.features.inference import Engine, features_of
from spark_src.features.model import MobilenetModel
from spark_src.images.ingest import row_of_file
from spark_src.images.rejection import Limits
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.tables.schemas import RAW_IMAGES
from tests.fuzz.__main__ import MOST_MEGABYTES, MOST_SECONDS, SEEDS, ingested
from tests.fuzz.bombs import BOMBS
from tests.fuzz.mutants import KINDS, SEED, Mutant, mutants, seeds
from tests.fuzz.trial import ACCEPTED, Trial, tried, used_engine

COUNT = 300
MEGAPIXELS = 0.2


@pytest.fixture(scope="module")
def files() -> list[Mutant]:
    """Small mutants of every kind."""
    return list(mutants(seeds(SEEDS[:1]), COUNT, MEGAPIXELS))


@pytest.fixture(scope="module")
def engine(mobilenet: MobilenetModel) -> Engine:
    return used_engine(mobilenet.content)


def bomb_trials(megapixels: float, model: bytes) -> dict[str, Trial]:
    """A full-size bomb of every kind."""
    random, engine = np.random.default_rng(SEED), used_engine(model)
    return {kind: tried(make(random, megapixels), engine) for kind, make in BOMBS.items()}


def test_every_mutant_is_in_one_table_of_ingest_for_the_reason_that_it_has_alone(
    files: list[Mutant], spark: SparkSession, tmp_path: Path
) -> None:
    alone = {}
    for file in files:
        (tmp_path / file.name).write_bytes(file.content)
        row = row_of_file(file.name, file.content, DEFAULT_LIMITS)
        alone[file.name] = row.get("reason", ACCEPTED)
    assert ingested(spark, tmp_path) == alone
    assert len(set(alone.values())) > 5
    assert {file.kind for file in files} >= set(KINDS)


def test_every_mutant_that_is_accepted_has_features(files: list[Mutant], engine: Engine) -> None:
    rows = [row_of_file(file.name, file.content, DEFAULT_LIMITS) for file in files]
    accepted = [row for row in rows if "reason" not in row]
    assert len(accepted) > COUNT / 4
    features = features_of(pa.RecordBatch.from_pylist(accepted, RAW_IMAGES), engine)
    assert features.shape == (len(accepted), 1280)
    assert np.isfinite(features).all()


def test_no_bomb_takes_a_worker_more_memory_or_time_than_it_may(mobilenet: MobilenetModel) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process as large as a worker
        trials = pool.apply(bomb_trials, (Limits().max_pixels / 1e6, mobilenet.content))
    assert set(trials) == set(BOMBS)
    assert {kind: trial for kind, trial in trials.items() if " " in trial.outcome} == {}
    assert max(trial.seconds for trial in trials.values()) < MOST_SECONDS
    assert max(trial.megabytes for trial in trials.values()) < MOST_MEGABYTES


def test_the_same_seed_gives_the_same_mutants(files: list[Mutant]) -> None:
    originals = seeds(SEEDS[:1])
    assert list(mutants(originals, 60, MEGAPIXELS)) == files[:60]
    assert list(mutants(originals, 60, MEGAPIXELS, seed=7)) != files[:60]


def test_a_worker_that_dies_is_told_from_one_that_rejects(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert tried(b"", engine).outcome == "empty_file"
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", kill)
    assert tried(b"", engine).outcome == "killed by SIGKILL"


def test_a_worker_that_hangs_is_ended(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.trial.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", lambda *_: time.sleep(60))
    assert tried(b"", engine).outcome == "killed by SIGKILL"


def test_a_worker_that_takes_memory_is_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swell(*_: object) -> dict[str, str]:
        return {"reason": f"{len(b'x' * 300 * 2**20)}"}

    before = tried(b"", engine).megabytes
    monkeypatch.setattr("tests.fuzz.trial.row_of_file", swell)
    assert tried(b"", engine).megabytes > before + 250
