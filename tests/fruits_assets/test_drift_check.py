"""Unusual pictures do not stop the run, and the check reports the worst of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fruits_assets.checks.run_checks import Outcome
from spark_src.tables.delta import Snapshot

NAME = "new_images_are_familiar"


def test_pictures_of_noise_are_listed_in_a_warning(
    copied: Path, sample: Path, tmp_path: Path, run: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    source = Path(shutil.copytree(sample, tmp_path / "in"))
    random = np.random.default_rng(360)
    (source / "Training" / "Noise").mkdir()
    for number in range(8):
        noise = Image.fromarray(random.integers(0, 256, (100, 100, 3), np.uint8))
        noise.save(source / "Training" / "Noise" / f"{number}.png")
    result = run(copied, "raw_images*", source=source)
    (found,) = [e for e in result.get_asset_check_evaluations() if e.check_name == NAME]
    assert result.success
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(found.description).startswith("8 of 8 new images have a larger residual")
    worst = found.metadata["most unusual images"]
    assert isinstance(worst, dg.TableMetadataValue)
    paths = {f"Training/Noise/{number}.png" for number in range(8)}
    assert {record.data["path"] for record in worst.records} == paths
    assert any(f"Look at the worst, {path}" in str(found.description) for path in paths)


@pytest.mark.parametrize("show_photos", [False, True])
def test_a_personal_photo_is_named_only_if_the_setting_allows_it(
    *,
    show_photos: bool,
    copied: Path,
    set_statistics: Callable[..., Snapshot],
    check: Callable[[Path], dict[str, Outcome]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {"path": ["photos/4711/1.jpg"], "split": pa.array([None], pa.string())}
    pq.write_table(pa.table(row), copied / "Results" / "new.parquet")
    measured = {"new_images": 1, "compared": 1, "beyond": 1, "chance": 0, "residual": 3, "shift": 1}
    worst = [("new.parquet", 0, 3.0), ("gone.parquet", 0, 2.0)]
    set_statistics(copied, "pca_model", drift=measured | {"worst": worst, "familiar": False})
    monkeypatch.setenv("FRUITS_SHOW_PHOTOS", str(show_photos))
    outcome = check(copied)[f"pca_components:{NAME}"]
    assert (outcome.verdict, outcome.exit_code) == ("warns", 0)
    named = "photos/4711/1.jpg" if show_photos else "a person's photo"
    assert f"Look at the worst, {named}; " in outcome.text


def test_after_one_run_there_is_nothing_to_compare(
    stored: Path, check: Callable[[Path], dict[str, Outcome]]
) -> None:
    outcome = check(stored)[f"pca_components:{NAME}"]
    assert outcome.verdict == "passes"
    assert outcome.text == "there is no PCA model from before the new images"
