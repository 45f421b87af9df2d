"""Runs that write invalid data: the audit finds it before the commit, and no table changes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from spark_src.features.plan import features_fingerprint
from spark_src.tables.delta import Snapshot
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES
from spark_src.tables.statistics import MobilenetModelStatistics

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Snapshot]
Parts = Callable[[Path, str], list[Path]]
Digests = Callable[[Path], dict[str, str]]
ErrorText = Callable[[dg.ExecuteInProcessResult], str]

RECOMPUTE = {"mobilenet_features": {"recompute": True}}
OTHER = hashlib.sha256(b"another model").hexdigest()


@pytest.fixture
def fails_and_changes_nothing(
    run: Run, digests: Digests, error_text: ErrorText, made: Callable[..., set[str]]
) -> Callable[..., str]:
    """Require that a run fails without changing files or committing; return its error message."""

    def attempt(root: Path, select: str, **options: Any) -> str:
        before = digests(root)
        result = run(root, select, raise_on_error=False, **options)
        assert not result.success
        assert made(result) == set()
        after = digests(root)
        assert before.items() <= after.items()
        assert [name for name in after.keys() - before if "/part-" not in name] == []  # no commit
        return error_text(result)

    return attempt


@pytest.fixture
def damaged_model(copied: Path, current: Current, set_statistics: Callable[..., Snapshot]) -> Path:
    """A storage root whose current model has NaN weights."""
    file = Path(current(copied, "mobilenet_model").data_location.path)
    content = bytearray(file.read_bytes())
    middle = len(content) // 8 * 4
    content[middle : middle + 400] = np.full(100, np.nan, np.float32).tobytes()
    sha256 = hashlib.sha256(content).hexdigest()
    file.with_name(f"{sha256}.tflite").write_bytes(content)
    named = {"digest": sha256, "sha256": sha256, "files": (f"{sha256}.tflite",)}
    set_statistics(copied, "mobilenet_model", **named)
    return copied


def test_features_that_are_not_finite_are_not_committed(
    damaged_model: Path, fails_and_changes_nothing: Callable[..., str]
) -> None:
    text = fails_and_changes_nothing(damaged_model, "mobilenet_features*")
    assert "mobilenet_features: 240 rows have NaN or infinity" in text
    assert "Nothing was committed, and the previous version is still current" in text


def test_incomplete_features_are_not_committed(
    copied: Path, parts: Parts, fails_and_changes_nothing: Callable[..., str]
) -> None:
    file = parts(copied, "raw_images")[0]
    pq.write_table(pq.read_table(file).slice(1), file)
    text = fails_and_changes_nothing(copied, "mobilenet_features*", ops=RECOMPUTE)
    assert "mobilenet_features: 239 rows were written, 240 were expected" in text


def spoil(rows: pa.Table, damage: str) -> pa.Table:
    """Features with that damage in the first row."""
    vectors = rows["features"].to_pylist()
    models = rows["model_sha256"].to_pylist()
    match damage:
        case "a second model":
            models[0] = OTHER
        case "no number":
            vectors[0][640] = float("nan")
        case "no vector":
            vectors[0] = None
        case "a number too few":
            vectors[0] = vectors[0][1:]
    columns = [rows[name] for name in (*KEYS, "orientation")]
    columns += [pa.array(vectors, pa.list_(pa.float32())), pa.array(models)]
    return pa.table(columns, schema=MOBILENET_FEATURES)


@pytest.fixture
def leave_behind(
    copied: Path, sample: Path, tmp_path: Path, run: Run, current: Current, parts: Parts
) -> Callable[[str], Path]:
    """Write a file as left by a killed run, with features of eight new pictures."""
    source = Path(shutil.copytree(sample, tmp_path / "input"))
    run(copied, "key:raw_images or key:mobilenet_features", source=source)
    known = set(parts(copied, "raw_images"))
    (source / "Training" / "Pear").mkdir()
    for picture in sorted(source.rglob("*.jpg"))[:8]:
        shutil.copyfile(picture, source / "Training" / "Pear" / picture.name)
    run(copied, "raw_images", source=source)
    (new,) = set(parts(copied, "raw_images")) - known
    sha256 = current(copied, "mobilenet_model").typed(MobilenetModelStatistics).sha256

    def put(damage: str) -> Path:
        keys = pq.read_table(new, columns=[*KEYS, "orientation"])
        features = pq.read_table(parts(copied, "mobilenet_features")[0])["features"].slice(0, 8)
        columns = [*keys.columns, features, pa.array([sha256] * 8)]
        rows = spoil(pa.table(columns, schema=MOBILENET_FEATURES), damage)
        file = copied / "Results" / f"{new.stem}.{features_fingerprint(sha256)}.parquet"
        pq.write_table(rows, file)
        return file

    return put


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ("a second model", "rows name 2 models"),
        ("no number", "1 rows have NaN or infinity"),
        ("no vector", "1 rows have no vector"),
        ("a number too few", "vectors have 1279 to 1280 numbers, not 1,280"),
    ],
)
def test_invalid_features_of_a_killed_run_are_neither_committed_nor_reused(
    *,
    damage: str,
    text: str,
    copied: Path,
    leave_behind: Callable[[str], Path],
    run: Run,
    current: Current,
    digests: Digests,
    error_text: ErrorText,
) -> None:
    before = digests(copied)
    file = leave_behind(damage)
    result = run(copied, "mobilenet_features*", raise_on_error=False)
    assert f"mobilenet_features: {text}" in error_text(result)
    assert digests(copied) == before
    assert run(copied, "mobilenet_features").success
    assert file in [Path(known.path) for known in current(copied, "mobilenet_features").locations]
    assert current(copied, "mobilenet_features").rows == 248


def test_components_of_features_that_are_not_finite_are_not_committed(
    copied: Path, run: Run, parts: Parts, fails_and_changes_nothing: Callable[..., str]
) -> None:
    run(copied, "pca_model", ops={"pca_model": {"n_components": 3}})
    file = parts(copied, "mobilenet_features")[0]
    pq.write_table(spoil(pq.read_table(file), "no number"), file)
    text = fails_and_changes_nothing(copied, "pca_components+")
    assert "pca_components: 1 rows have NaN or infinity" in text


def test_pca_is_not_fitted_on_features_that_are_not_finite(
    copied: Path, parts: Parts, fails_and_changes_nothing: Callable[..., str]
) -> None:
    file = parts(copied, "mobilenet_features")[0]
    rows = pq.read_table(file)
    training = rows.filter(pc.equal(rows["split"], "Training"))
    others = rows.filter(pc.not_equal(rows["split"], "Training"))
    pq.write_table(pa.concat_tables([spoil(training, "no number"), others]), file)
    ops = {"pca_model": {"refit": True}}
    text = fails_and_changes_nothing(copied, "pca_model+", ops=ops)
    assert "Some features are not finite" in text
    assert "Materialize mobilenet_features again" in text
