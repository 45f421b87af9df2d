"""What the IO managers give back, and what they say where there is nothing to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.errors import NothingStoredError, UnreadableVersionError
from spark_src.storage import Version

LOADED = ("raw_images", "mobilenet_model", "mobilenet_features", "pca_model", "pca_components")


def load(root: Path, asset: str) -> Any:
    definitions = build_defs(Settings(storage=str(root)))
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.load_asset_value(asset, instance=instance)


@pytest.mark.parametrize("asset", [*LOADED, "rejected_images", "csv_export"])
def test_an_asset_nothing_made_is_named_with_its_folder_and_the_command(
    asset: str, tmp_path: Path
) -> None:
    with pytest.raises(NothingStoredError) as caught:
        load(tmp_path, asset)
    text = str(caught.value)
    assert text.startswith(f"{asset} has no current version under {tmp_path / PREFIXES[asset]}.")
    assert f"uv run dagster asset materialize --select '*{asset}'" in text


def test_a_run_of_pca_without_features_says_so_and_writes_nothing(
    tmp_path: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    error_text: Callable[[dg.ExecuteInProcessResult], str],
) -> None:
    result = run(tmp_path / "data", "pca_components+", raise_on_error=False)
    assert "mobilenet_features has no current version" in error_text(result)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_features", "pca_components"])
def test_a_table_comes_back_with_its_rows_and_its_version(
    asset: str, stored: Path, current: Callable[[Path, str], Version]
) -> None:
    table = load(stored, asset)
    assert table.version == current(stored, asset)
    assert table.frame.count() == table.version.rows == 240


def test_an_empty_ledger_comes_back_as_an_empty_table(stored: Path) -> None:
    table = load(stored, "rejected_images")
    assert table.frame.columns == ["path", "bytes", "reason", "detail"]
    assert table.frame.count() == 0


def test_the_models_come_back_as_they_were_stored(stored: Path) -> None:
    model = load(stored, "mobilenet_model")
    assert model.content[4:8] == b"TFL3"
    assert load(stored, "pca_model").model == model.sha256


def test_the_csv_export_comes_back_as_the_location_of_its_file(stored: Path) -> None:
    assert len(load(stored, "csv_export").read().splitlines()) == 241


def test_a_storage_whose_name_has_wildcards_is_written_and_read(
    tmp_path: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    copy_pictures: Callable[..., Path],
) -> None:
    pictures = copy_pictures(tmp_path / "in [1] {a,b} *? é %20", 4)
    root = tmp_path / "data [2] {c,d} *? ü %20"
    run(root, "raw_images", source=pictures)
    table = load(root, "raw_images")
    assert table.frame.count() == 4
    paths = {row["path"] for row in table.frame.select("path").collect()}
    assert paths == {str(path.relative_to(pictures)) for path in pictures.rglob("*.jpg")}


def test_a_pointer_of_newer_code_is_refused(copied: Path) -> None:
    pointer = copied / PREFIXES["pca_model"] / "current.json"
    pointer.write_text(pointer.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UnreadableVersionError, match="format 2, this code knows up to 1"):
        load(copied, "pca_model")
