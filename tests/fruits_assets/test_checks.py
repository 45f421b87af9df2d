"""Each check fails for its own reason, and says it with the values it found."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruits_assets.check_runs import Outcome
from spark_src.pca.files import FILE as PCA_FILE
from spark_src.storage import Version

Check = Callable[[Path], dict[str, Outcome]]
Current = Callable[[Path, str], Version]
Parts = Callable[[Path, str], list[Path]]
SetFacts = Callable[..., None]

FEATURES = "mobilenet_features:features_have_1280_finite_numbers"
COMPONENTS = "pca_components:components_have_n_finite_numbers"
OTHER = hashlib.sha256(b"another model").hexdigest()


def lose_a_row(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(1), file)


def not_holding(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome.verdict != "holds"}


def test_all_checks_hold_on_what_one_run_made(stored: Path, check: Check) -> None:
    outcomes = check(stored)
    assert len(outcomes) == 14
    assert not_holding(outcomes) == set()
    assert {outcome.exit_code for outcome in outcomes.values()} == {0}
    assert outcomes["pca_components:variance_is_explained"].text.startswith(
        "50 components explain 0.93"
    )


def test_a_file_that_is_in_neither_table_is_counted_as_lost(
    copied: Path, check: Check, set_facts: SetFacts
) -> None:
    set_facts(copied, "raw_images", input_files=243)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"raw_images:no_image_lost"}
    outcome = outcomes["raw_images:no_image_lost"]
    assert outcome.verdict == "FAILS"
    assert outcome.text == ("240 raw_images + 0 rejected_images is not 243 files under the input")


@pytest.mark.parametrize(
    ("source", "target", "following"),
    [
        ("raw_images", "mobilenet_features", "pca_components"),
        ("mobilenet_features", "pca_components", "csv_export"),
    ],
)
def test_a_row_lost_from_storage_is_found_whatever_the_pointer_says(
    *, source: str, target: str, following: str, copied: Path, check: Check, parts: Parts
) -> None:
    lose_a_row(parts(copied, target)[0])
    outcomes = check(copied)
    assert outcomes[f"{target}:no_image_lost"].text == f"239 {target} is not 240 {source}"
    assert outcomes[f"{following}:no_image_lost"].text == f"240 {following} is not 239 {target}"
    own = FEATURES if target == "mobilenet_features" else COMPONENTS
    assert not_holding(outcomes) == {
        f"{target}:no_image_lost",
        f"{following}:no_image_lost",
        own,
    }
    assert outcomes[own].verdict == "cannot run"
    assert "holds 239 rows, but 240 were written" in outcomes[own].text
    assert f"Materialize {target} again" in outcomes[own].text


def test_a_line_lost_from_the_csv_file_is_found(
    copied: Path, check: Check, current: Current
) -> None:
    file = Path(current(copied, "csv_export").location.path) / "pca_components.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    outcomes = check(copied)
    assert not_holding(outcomes) == {"csv_export:no_image_lost"}
    assert outcomes["csv_export:no_image_lost"].text == "239 csv_export is not 240 pca_components"


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"nulls": 2}, "2 rows have no vector"),
        ({"not_finite": 3}, "3 rows have NaN or infinity"),
        ({"shortest": 1279}, "vectors have 1279 to 1280 numbers, not 1280"),
        ({"longest": 1281}, "vectors have 1280 to 1281 numbers, not 1280"),
        ({"smallest_norm": 4.0, "largest_norm": 4.0}, "every image has the same vector"),
        ({"nulls": 1, "not_finite": 1}, "1 rows have no vector; 1 rows have NaN or infinity"),
    ],
    ids=str,
)
def test_unsound_features_fail_their_check_alone(
    facts: dict[str, Any], text: str, copied: Path, check: Check, set_facts: SetFacts
) -> None:
    set_facts(copied, "mobilenet_features", **facts)
    outcomes = check(copied)
    assert not_holding(outcomes) == {FEATURES}
    assert (outcomes[FEATURES].verdict, outcomes[FEATURES].text) == ("FAILS", text)
    assert outcomes[FEATURES].exit_code == 1


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"not_finite": 1}, "1 rows have NaN or infinity"),
        ({"n_components": 49}, "vectors have 50 to 50 numbers, not 49"),
    ],
    ids=str,
)
def test_unsound_components_fail_their_check_alone(
    facts: dict[str, Any], text: str, copied: Path, check: Check, set_facts: SetFacts
) -> None:
    set_facts(copied, "pca_components", **facts)
    outcomes = check(copied)
    assert not_holding(outcomes) == {COMPONENTS}
    assert (outcomes[COMPONENTS].verdict, outcomes[COMPONENTS].text) == ("FAILS", text)


@pytest.mark.parametrize(
    ("asset", "facts"),
    [("mobilenet_features", {"models": [OTHER]}), ("pca_model", {"model": OTHER})],
)
def test_another_model_half_way_is_named_with_the_remedy(
    *,
    asset: str,
    facts: dict[str, Any],
    copied: Path,
    check: Check,
    set_facts: SetFacts,
    current: Current,
) -> None:
    digest = current(copied, "mobilenet_model").facts["sha256"]
    set_facts(copied, asset, **facts)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"pca_components:one_model_throughout"}
    outcome = outcomes["pca_components:one_model_throughout"]
    assert outcome.verdict == "FAILS"
    assert f"'{asset}': '{OTHER}'" in outcome.text
    assert f"'mobilenet_model': '{digest}'" in outcome.text
    assert "Materialize mobilenet_features and what follows it" in outcome.text


def test_weights_of_ones_own_are_a_warning_and_no_error(
    copied: Path, check: Check, set_facts: SetFacts
) -> None:
    set_facts(copied, "mobilenet_model", weights_sha256=OTHER)
    outcomes = check(copied)
    assert not_holding(outcomes) == {"mobilenet_model:weights_are_imagenet"}
    outcome = outcomes["mobilenet_model:weights_are_imagenet"]
    assert (outcome.verdict, outcome.exit_code) == ("warns", 0)
    assert outcome.text == f"other weights were chosen: sha256 {OTHER}"


def ask_for(share: float, folder: Path) -> None:
    """Let the stored PCA model say that more variance was asked for."""
    file = folder / PCA_FILE
    table = pq.read_table(file)
    index = table.schema.get_field_index("min_explained_variance")
    changed = table.set_column(index, "min_explained_variance", pa.array([share]))
    pq.write_table(changed, file)


def test_too_little_variance_is_named_with_the_number_of_components_it_takes(
    copied: Path, check: Check, current: Current
) -> None:
    version = current(copied, "pca_model")
    ask_for(0.95, Path(version.location.path))
    outcomes = check(copied)
    assert not_holding(outcomes) == {"pca_components:variance_is_explained"}
    outcome = outcomes["pca_components:variance_is_explained"]
    explained = version.facts["explained_variance"]
    needed = version.facts["components_for"]["0.95"]
    assert (outcome.verdict, outcome.exit_code) == ("FAILS", 1)
    assert outcome.text == (
        f"50 components explain {explained:.4f} of the variance; "
        f"0.95 is asked for and takes n_components = {needed}"
    )


def test_a_run_can_ask_for_less_variance(copied: Path, check: Check, current: Current) -> None:
    ask_for(0.93, Path(current(copied, "pca_model").location.path))
    assert check(copied)["pca_components:variance_is_explained"].verdict == "holds"


def test_data_gone_from_under_its_pointer_is_no_verdict_but_names_folder_and_remedy(
    copied: Path, check: Check, current: Current
) -> None:
    folder = Path(current(copied, "pca_components").location.path)
    shutil.rmtree(folder)
    outcomes = check(copied)
    outcome = outcomes[COMPONENTS]
    assert (outcome.verdict, outcome.exit_code) == ("cannot run", 2)
    assert f"{folder} is gone" in outcome.text
    assert "--select" in outcome.text
    assert outcomes["pca_components:variance_is_explained"].verdict == "holds"


def test_a_damaged_pca_model_is_no_verdict_but_names_file_and_remedy(
    copied: Path, check: Check, current: Current
) -> None:
    file = Path(current(copied, "pca_model").location.path) / PCA_FILE
    file.write_bytes(file.read_bytes()[:1000])
    outcome = check(copied)["pca_components:variance_is_explained"]
    assert outcome.verdict == "cannot run"
    assert str(file) in outcome.text
    assert "--select 'pca_components+'" in outcome.text


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_features", "pca_components"])
def test_a_damaged_file_is_named_by_the_check_of_its_asset(
    copied: Path, check: Check, parts: Callable[[Path, str], list[Path]], asset: str
) -> None:
    file = parts(copied, asset)[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x40
    file.write_bytes(content)
    outcomes = check(copied)
    whole = {name: found.verdict for name, found in outcomes.items() if "files_are_whole" in name}
    assert whole.pop(f"{asset}:files_are_whole") == "FAILS"
    assert set(whole.values()) == {"holds"}
    assert str(file) in outcomes[f"{asset}:files_are_whole"].text
