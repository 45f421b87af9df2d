"""PCA alone, made again from the stored features: nothing before it is read or changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from dagster._cli import create_dagster_cli

from spark_src.contract import PREFIXES
from spark_src.pca import files as pca_files
from spark_src.storage import Version

Alone = tuple[Path, dg.ExecuteInProcessResult, dict[str, bytes]]
Current = Callable[[Path, str], Version]
PCA_AND_AFTER = {"pca_model", "pca_components", "csv_export", "embedding_quality"}


@pytest.fixture(scope="module")
def alone(
    stored: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    pointers: Callable[[Path], dict[str, bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Alone:
    """PCA with 10 components where input, pictures and model are gone; pointers before."""
    folder = tmp_path_factory.mktemp("alone")
    root = Path(shutil.copytree(stored, folder / "data"))
    for asset in ("raw_images", "rejected_images", "mobilenet_model"):
        for file in (root / PREFIXES[asset] / "versions").glob("*/*"):
            file.unlink()
    before = pointers(root)
    gone = folder / "gone"
    return (
        root,
        run(root, "pca_components+", source=gone, ops={"pca": {"n_components": 10}}),
        before,
    )


def test_it_needs_no_input_no_picture_and_no_model(alone: Alone) -> None:
    assert alone[1].success


def test_it_makes_pca_and_what_follows_and_nothing_else(
    alone: Alone, made: Callable[[dg.ExecuteInProcessResult], set[str]]
) -> None:
    assert made(alone[1]) == PCA_AND_AFTER


def test_the_pointers_before_it_stay_byte_for_byte(
    alone: Alone, pointers: Callable[[Path], dict[str, bytes]]
) -> None:
    root, _, before = alone
    changed = {asset for asset, content in pointers(root).items() if content != before[asset]}
    assert changed == PCA_AND_AFTER


def test_the_number_of_components_shows_in_rows_model_and_csv(
    alone: Alone, current: Current
) -> None:
    rows = pq.read_table(current(alone[0], "pca_components").location.path)
    assert {len(row) for row in rows.column("pca").to_pylist()} == {10}
    model = pca_files.load(current(alone[0], "pca_model").location)
    assert model.components.shape == (10, 1280)
    file = Path(current(alone[0], "csv_export").location.path) / "pca_components.csv"
    header = file.read_text().splitlines()[0].split(",")
    assert header[4:] == [f"pca_{index}" for index in range(10)]


def test_the_first_components_are_those_of_the_larger_model(
    alone: Alone, stored: Path, current: Current
) -> None:
    ten = pca_files.load(current(alone[0], "pca_model").location)
    fifty = pca_files.load(current(stored, "pca_model").location)
    assert abs(ten.components - fifty.components[:10]).max() < 1e-6


def test_too_little_variance_fails_its_check_but_stops_nothing(alone: Alone) -> None:
    _, result, _ = alone
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [(e.check_name, e.severity) for e in failed] == [
        ("variance_is_explained", dg.AssetCheckSeverity.ERROR)
    ]
    assert result.success


def test_the_version_before_is_kept(alone: Alone, stored: Path, current: Current) -> None:
    before = current(stored, "pca_components")
    folder = alone[0] / PREFIXES["pca_components"] / "versions" / before.name
    assert pq.read_table(folder).num_rows == 240


@pytest.mark.parametrize("select", ["pca_components+", "pca_model", "*raw_images"])
def test_dagsters_command_line_accepts_the_selections_that_the_project_advises(
    select: str, tmp_path: Path
) -> None:
    """On an empty storage and input a run ends for lack of those, not for its selection."""
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


def test_the_same_pca_again_keeps_the_models_version(
    copied: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    pointers: Callable[[Path], dict[str, bytes]],
) -> None:
    before = pointers(copied)
    run(copied, "pca_components")
    changed = {asset for asset, content in pointers(copied).items() if content != before[asset]}
    assert changed == {"pca_components"}


@pytest.mark.parametrize("damage", ["half of the file", "no folder"])
def test_a_damaged_pca_model_is_made_anew_by_the_command_that_its_error_advises(
    damage: str, copied: Path, run: Callable[..., dg.ExecuteInProcessResult], current: Current
) -> None:
    folder = Path(current(copied, "pca_model").location.path)
    if damage == "no folder":
        shutil.rmtree(folder)
    else:
        file = folder / pca_files.FILE
        file.write_bytes(file.read_bytes()[:1000])
    run(copied, "pca_components+")
    assert pca_files.load(current(copied, "pca_model").location).n_components == 50
