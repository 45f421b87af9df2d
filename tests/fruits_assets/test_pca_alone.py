"""Rerunning only PCA from the stored features reads and changes no other asset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner
from dagster._cli import create_dagster_cli

from fruits_assets.checks.run_checks import Outcome
from spark_src.contract import PREFIXES
from spark_src.pca import files as pca_files
from spark_src.pca.fit import load_current
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import PcaModelStatistics

Alone = tuple[Path, dg.ExecuteInProcessResult, dict[str, str]]
Current = Callable[[Path, str], Snapshot]
Digests = Callable[[Path], dict[str, str]]
Made = Callable[[dg.ExecuteInProcessResult], set[str]]
Read = Callable[..., pa.Table]
Run = Callable[..., dg.ExecuteInProcessResult]

AFTER_PCA = {"pca_components", "csv_export", "embedding_quality"}
EVALUATIONS = {"data_health", "fruit_classifier", "label_issues"}
WITH_10 = {"pca_model": {"n_components": 10}}


def pca_folders(names: Mapping[str, Any]) -> set[str]:
    """The files of PCA and its downstream assets."""
    own = tuple(f"{PREFIXES[asset]}/" for asset in AFTER_PCA | {"pca_model"})
    return {name for name in names if name.startswith(own)}


def unchanged(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that the run reported as unchanged."""
    events = result.get_asset_materialization_events()
    return {
        event.materialization.asset_key.to_user_string()
        for event in events
        if event.materialization.metadata["unchanged"].value
    }


@pytest.fixture(scope="module")
def alone(
    stored: Path, run: Run, digests: Digests, tmp_path_factory: pytest.TempPathFactory
) -> Alone:
    """PCA with 10 components without input, pictures and model; with earlier digests."""
    folder = tmp_path_factory.mktemp("alone")
    root = Path(shutil.copytree(stored, folder / "data"))
    for asset in ("raw_images", "rejected_images", "mobilenet_model"):
        for file in (root / PREFIXES[asset]).glob("*.*"):
            file.unlink()
    before = digests(root)
    return root, run(root, "pca_model+", source=folder / "gone", ops=WITH_10), before


def test_it_needs_no_input_no_picture_and_no_model(alone: Alone) -> None:
    assert alone[1].success


def test_it_only_fits_projects_and_exports(alone: Alone, made: Made) -> None:
    assert made(alone[1]) == AFTER_PCA | {"pca_model"}
    assert unchanged(alone[1]) == set()


def test_every_other_asset_stays_byte_for_byte(alone: Alone, digests: Digests) -> None:
    root, _, before = alone
    after = digests(root)
    others = {name: digest for name, digest in before.items() if name not in pca_folders(before)}
    assert {name: after[name] for name in after.keys() - pca_folders(after)} == others


def test_the_number_of_components_shows_in_rows_model_and_csv(
    alone: Alone, current: Current, read: Read
) -> None:
    rows = read(alone[0], "pca_components")["pca"].to_pylist()
    assert {len(row) for row in rows} == {10}
    assert load_current(current(alone[0], "pca_model")).components.shape == (10, 1280)
    file = alone[0] / "Results_CSV" / "pca_components.csv"
    header = file.read_text().splitlines()[0].split(",")
    assert header[4:] == [f"pca_{index}" for index in range(10)]


def test_the_first_components_are_those_of_the_larger_model(
    alone: Alone, stored: Path, current: Current
) -> None:
    ten = load_current(current(alone[0], "pca_model"))
    fifty = load_current(current(stored, "pca_model"))
    assert abs(ten.components - fifty.components[:10]).max() < 1e-6


def test_the_commit_note_has_the_reason_of_the_refit(alone: Alone, current: Current) -> None:
    note = current(alone[0], "pca_model").record.note
    assert note.startswith(
        "fitted on 180 images: 10 components are requested, the previous model had 50"
    )


def test_too_little_variance_fails_its_check_but_does_not_block(alone: Alone) -> None:
    _, result, _ = alone
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [(e.check_name, e.severity) for e in failed] == [
        ("variance_is_explained", dg.AssetCheckSeverity.ERROR)
    ]
    assert result.success


def test_the_previous_version_is_kept(alone: Alone, stored: Path, read: Read) -> None:
    assert read(alone[0], "pca_components", 0) == read(stored, "pca_components")


def test_the_classifier_of_the_earlier_pca_is_outdated_and_not_wrong(
    alone: Alone, check: Callable[[Path], dict[str, Outcome]]
) -> None:
    outcome = check(alone[0])["fruit_classifier:uses_current_models"]
    assert (outcome.verdict, outcome.exit_code) == ("warns", 0)
    assert outcome.text.endswith("uv run fruits run --select fruit_classifier")


def test_k_of_the_settings_applies_to_every_run_that_does_not_set_it(
    copied: Path, run: Run, current: Current
) -> None:
    kept = []
    for ops in ({"pca_model": {"n_components": 5}}, {}, {}):
        run(copied, "pca_model", ops=ops, options={"components": 10})
        snapshot = current(copied, "pca_model")
        kept.append((snapshot.typed(PcaModelStatistics).n_components, snapshot.version))
    assert [k for k, _ in kept] == [5, 10, 10]
    assert kept[1] == kept[2]


@pytest.mark.parametrize("select", ["pca_model+", "pca_components+", "pca_model", "*raw_images"])
def test_dagsters_command_line_accepts_the_recommended_selections(
    select: str, tmp_path: Path
) -> None:
    """With an empty storage and input, a run fails because of these, not due to its selection."""
    module = tmp_path / "selected.py"
    module.write_text(
        "from fruits_assets.definitions import build_defs\n"
        "from fruits_assets.settings import Settings\n"
        f"defs = build_defs(Settings(storage={str(tmp_path / 'data')!r}, "
        f"input={str(tmp_path / 'input')!r}))\n"
    )
    arguments = ["asset", "materialize", "-f", str(module), "--select", select]
    done = CliRunner().invoke(create_dagster_cli(), arguments)
    assert "does not support subsetting" not in str(done.exception)
    assert "InvalidSubset" not in type(done.exception).__name__
    assert done.exit_code == 1


def test_the_same_pca_again_writes_nothing(
    copied: Path, run: Run, made: Made, digests: Digests
) -> None:
    before = digests(copied)
    result = run(copied, "pca_model+")
    assert made(result) == unchanged(result) == AFTER_PCA | {"pca_model"}
    assert digests(copied) == before


def test_components_alone_are_projected_with_the_existing_model(
    copied: Path, run: Run, made: Made, current: Current, read: Read
) -> None:
    run(copied, "pca_model", ops=WITH_10)
    model = current(copied, "pca_model")
    result = run(copied, "pca_components+")
    assert made(result) == AFTER_PCA | EVALUATIONS
    assert current(copied, "pca_model") == model
    rows = read(copied, "pca_components").to_pylist()
    assert {len(row["pca"]) for row in rows} == {10}
    assert {row["pca_model"] for row in rows} == {load_current(model).digest}


def test_another_threshold_changes_the_check_and_no_number(
    copied: Path, run: Run, current: Current, digests: Digests
) -> None:
    before, model = digests(copied), current(copied, "pca_model")
    ops = {"pca_model": {"min_explained_variance": 0.99}}
    result = run(copied, "pca_model+", ops=ops)
    assert unchanged(result) == AFTER_PCA
    after = current(copied, "pca_model")
    assert after.statistics.digest == model.statistics.digest
    assert after.typed(PcaModelStatistics).description.startswith("the model is kept")
    assert before.items() <= digests(copied).items()
    verdicts = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not verdicts["variance_is_explained"].passed
    assert "; the threshold is 0.99, which needs n_components = " in str(
        verdicts["variance_is_explained"].description
    )


@pytest.mark.parametrize("damage", ["half of the file", "no folder", "no sums"])
def test_the_remedy_for_a_damaged_pca_model_rebuilds_it(
    damage: str, copied: Path, run: Run, current: Current, read: Read
) -> None:
    """The same features yield exactly the same model."""
    before, version = read(copied, "pca_components"), current(copied, "pca_model")
    folder = Path(version.data_location.path)
    if damage == "no folder":
        shutil.rmtree(folder)
    elif damage == "no sums":
        (folder.parent / version.typed(PcaModelStatistics).sums).unlink()
    else:
        file = folder / pca_files.FILE
        file.write_bytes(file.read_bytes()[:1000])
    run(copied, "pca_model+", ops={"pca_model": {"refit": True}})
    assert load_current(current(copied, "pca_model")).digest == version.statistics.digest
    assert pca_files.load_sums(
        version.location / current(copied, "pca_model").typed(PcaModelStatistics).sums
    )
    assert read(copied, "pca_components") == before
