"""Pictures of something else come in: the run goes on, and the check names the worst of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
from PIL import Image

from fruits_assets.check_runs import Outcome

NAME = "new_images_are_familiar"


def test_pictures_of_noise_are_warned_of_by_their_paths(
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
    assert str(found.description).startswith("8 of 8 new images have more outside")
    worst = str(found.metadata["worst"].value)
    assert all(f"| Training/Noise/{number}.png |" in worst for number in range(8))


def test_after_one_run_there_is_nothing_to_compare(
    stored: Path, check: Callable[[Path], dict[str, Outcome]]
) -> None:
    outcome = check(stored)[f"pca_components:{NAME}"]
    assert outcome.verdict == "holds"
    assert outcome.text == "no PCA was fitted before the last images came"
