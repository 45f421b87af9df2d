"""Each check fails for its own reason, and reports the values it found."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fruits_assets.checks.run_checks import Outcome
from spark_src.contract import PREFIXES
from spark_src.pca.files import FILE as PCA_FILE
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import MobilenetModelStatistics, PcaModelStatistics

Check = Callable[[Path], dict[str, Outcome]]
Current = Callable[[Path, str], Snapshot]
Parts = Callable[[Path, str], list[Path]]
SetStatistics = Callable[..., Snapshot]

FEATURES = "mobilenet_features:features_are_valid"
COMPONENTS = "pca_components:components_are_valid"
VARIANCE = "pca_components:variance_is_explained"
FILMS = {"data_health:no_picture_in_two_splits"}
OTHER = hashlib.sha256(b"another model").hexdigest()


def lose_a_row(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(1), file)


def not_holding(outcomes: dict[str, Outcome]) -> set[str]:
    """Failing checks, without the expected warnings for the sample."""
    found = {name for name, outcome in outcomes.items() if outcome.verdict != "passes"}
    return found - FILMS


def test_all_checks_pass_after_a_full_run(stored: Path, check: Check) -> None:
    outcomes = check(stored)
    assert len(outcomes) == 24
    assert {outcomes[name].verdict for name in FILMS} == {"warns"}
    assert not_holding(outcomes) == set()
    assert {outcome.exit_code for outcome in outcomes.values()} == {0}
    assert outcomes[VARIANCE].text.startswith("50 components explain 0.93")


def test_a_file_in_neither_table_is_counted_as_lost(
    copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    set_statistics(copied, "raw_images", n_listed=243)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"raw_images:no_image_lost"}
    outcome = outcomes["raw_images:no_image_lost"]
    assert outcome.verdict == "FAILS"
    assert outcome.text == ("240 raw_images + 0 rejected_images is not 243 files under the input")


@pytest.mark.parametrize(
    ("source", "target", "downstream"),
    [
        ("raw_images", "mobilenet_features", "pca_components"),
        ("mobilenet_features", "pca_components", "csv_export"),
    ],
)
def test_a_row_lost_from_storage_is_found_regardless_of_the_statistics(
    *, source: str, target: str, downstream: str, copied: Path, check: Check, parts: Parts
) -> None:
    lose_a_row(parts(copied, target)[0])
    outcomes = check(copied)
    assert outcomes[f"{target}:no_image_lost"].text == f"239 {target} is not 240 {source}"
    assert outcomes[f"{downstream}:no_image_lost"].text == (f"240 {downstream} is not 239 {target}")
    assert not_holding(outcomes) == {
        f"{target}:no_image_lost",
        f"{downstream}:no_image_lost",
        f"{target}:files_are_whole",
    }
    assert f"materialize {target} again" in outcomes[f"{target}:files_are_whole"].text


def test_a_line_lost_from_the_csv_file_is_found(copied: Path, check: Check) -> None:
    file = copied / "Results_CSV" / "pca_components.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    outcomes = check(copied)
    assert not_holding(outcomes) == {"csv_export:no_image_lost"}
    assert outcomes["csv_export:no_image_lost"].text == "239 csv_export is not 240 pca_components"


def test_a_missing_csv_file_is_an_error_with_the_remedy(copied: Path, check: Check) -> None:
    file = copied / "Results_CSV" / "pca_components.csv"
    file.unlink()
    outcomes = check(copied)
    assert not_holding(outcomes) == {"csv_export:no_image_lost"}
    outcome = outcomes["csv_export:no_image_lost"]
    assert (outcome.verdict, outcome.exit_code) == ("cannot run", 2)
    assert outcome.text.startswith(f"{file} cannot be read")
    assert outcome.text.endswith("uv run fruits run --select csv_export")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nulls": 2}, "rows without a vector: 2"),
        ({"not_finite": 3}, "rows with NaN or infinity: 3"),
        ({"shortest": 1279}, "vectors have 1279 to 1280 numbers, not 1280"),
        ({"longest": 1281}, "vectors have 1280 to 1281 numbers, not 1280"),
        ({"smallest_norm": 4.0, "largest_norm": 4.0}, "every image has the same vector"),
        ({"nulls": 1, "not_finite": 1}, "rows without a vector: 1; rows with NaN or infinity: 1"),
    ],
    ids=str,
)
def test_invalid_features_fail_only_their_check(
    values: dict[str, Any], text: str, copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    set_statistics(copied, "mobilenet_features", vectors=values)
    outcomes = check(copied)
    assert not_holding(outcomes) == {FEATURES}
    assert (outcomes[FEATURES].verdict, outcomes[FEATURES].text) == ("FAILS", text)
    assert outcomes[FEATURES].exit_code == 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"vectors": {"not_finite": 1}}, "rows with NaN or infinity: 1"),
        ({"n_components": 49}, "vectors have 50 to 50 numbers, not 49"),
    ],
    ids=str,
)
def test_invalid_components_fail_only_their_check(
    values: dict[str, Any], text: str, copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    set_statistics(copied, "pca_components", **values)
    outcomes = check(copied)
    assert not_holding(outcomes) == {COMPONENTS}
    assert (outcomes[COMPONENTS].verdict, outcomes[COMPONENTS].text) == ("FAILS", text)


@pytest.mark.parametrize("asset", ["mobilenet_features", "pca_model"])
def test_a_mix_of_models_is_reported_with_the_remedy(
    *,
    asset: str,
    copied: Path,
    check: Check,
    set_statistics: SetStatistics,
    current: Current,
) -> None:
    digest = current(copied, "mobilenet_model").typed(MobilenetModelStatistics).sha256
    set_statistics(copied, asset, model_sha256=OTHER)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"pca_components:one_model_throughout"}
    outcome = outcomes["pca_components:one_model_throughout"]
    assert outcome.verdict == "FAILS"
    assert f"'{asset}': '{OTHER}'" in outcome.text
    assert f"'mobilenet_model': '{digest}'" in outcome.text
    assert "Materialize mobilenet_features and its downstream assets" in outcome.text


def test_other_weights_are_a_warning_and_not_an_error(
    copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    set_statistics(copied, "mobilenet_model", weights_sha256=OTHER)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"mobilenet_model:weights_are_imagenet"}
    outcome = outcomes["mobilenet_model:weights_are_imagenet"]
    assert (outcome.verdict, outcome.exit_code) == ("warns", 0)
    assert outcome.text == f"other weights were chosen: sha256 {OTHER}"


def test_too_little_variance_is_reported_with_the_components_needed(
    copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    version = set_statistics(copied, "pca_model", min_explained_variance=0.95)
    outcomes = check(copied)
    assert not_holding(outcomes) == {VARIANCE}
    known = version.typed(PcaModelStatistics)
    assert (outcomes[VARIANCE].verdict, outcomes[VARIANCE].exit_code) == ("FAILS", 1)
    assert outcomes[VARIANCE].text == (
        f"50 components explain {known.explained_variance:.4f} of the variance; "
        f"the threshold is 0.95, which needs n_components = {known.components_for['0.95']}"
    )


def test_a_run_can_lower_the_variance_threshold(
    copied: Path, check: Check, run: Callable[..., object]
) -> None:
    run(copied, "pca_model", ops={"pca_model": {"n_components": 3, "min_explained_variance": 0.3}})
    outcome = check(copied)[VARIANCE]
    assert (outcome.verdict, outcome.text[:23]) == ("passes", "3 components explain 0.")


def test_the_check_uses_the_variance_of_the_current_images(
    copied: Path, check: Check, set_statistics: SetStatistics
) -> None:
    set_statistics(copied, "pca_model", explained_variance_today=0.4321)
    outcomes = check(copied)
    assert not_holding(outcomes) == {VARIANCE}
    assert outcomes[VARIANCE].text.startswith(
        "50 components explain 0.4321 of the variance; the threshold is 0.9"
    )


@pytest.mark.parametrize("gone", ["its files", "the whole folder"])
def test_missing_data_is_an_error_with_location_and_remedy(
    gone: str, copied: Path, check: Check, parts: Parts
) -> None:
    folder, files = copied / PREFIXES["pca_components"], parts(copied, "pca_components")
    if gone == "its files":
        for file in files:
            file.unlink()
    else:
        shutil.rmtree(folder)
    outcomes = check(copied)
    outcome = outcomes["pca_components:no_image_lost"]
    assert (outcome.verdict, outcome.exit_code) == ("cannot run", 2)
    assert str(folder) in outcome.text
    whole = outcomes["pca_components:files_are_whole"]
    if gone == "its files":
        assert "delete the folder" in outcome.text
        assert whole.verdict == "FAILS"
        assert all(str(file) in whole.text for file in files)
    else:
        assert "--select '*pca_components'" in outcome.text
        assert outcomes[COMPONENTS].verdict == whole.verdict == "cannot run"
    assert outcomes[VARIANCE].verdict == "passes"


@pytest.mark.parametrize("damage", ["half of the file", "no folder"])
def test_a_damaged_pca_model_is_an_error_with_file_and_remedy(
    damage: str, copied: Path, check: Check, current: Current
) -> None:
    file = Path(current(copied, "pca_model").data_location.path) / PCA_FILE
    if damage == "no folder":
        shutil.rmtree(file.parent)
    else:
        file.write_bytes(file.read_bytes()[:1000])
    outcome = check(copied)[VARIANCE]
    assert outcome.verdict == "cannot run"
    assert str(file) in outcome.text
    assert "--select 'pca_model+'" in outcome.text


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_features", "pca_components"])
def test_a_damaged_file_is_reported_by_the_check_of_its_asset(
    copied: Path, check: Check, parts: Parts, asset: str
) -> None:
    file = parts(copied, asset)[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x40
    file.write_bytes(content)
    outcomes = check(copied)
    whole = {name: found.verdict for name, found in outcomes.items() if "files_are_whole" in name}
    assert whole.pop(f"{asset}:files_are_whole") == "FAILS"
    assert set(whole.values()) == {"passes"}
    assert str(file) in outcomes[f"{asset}:files_are_whole"].text
