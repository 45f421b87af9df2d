"""The IO manager loads what was stored, and reports missing versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fruits_assets.definitions import build_defs
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.resources import AssetStorage
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.features import files
from spark_src.pca.fit import load_current
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot

TABLES = {"raw_images": 240, "mobilenet_features": 240, "pca_components": 240, "rejected_images": 0}

Run = Callable[..., dg.ExecuteInProcessResult]


def load(root: Path, asset: str) -> Any:
    definitions = build_defs(Settings(storage=str(root)))
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.load_asset_value(asset, instance=instance)


@pytest.mark.parametrize("asset", PREFIXES)
def test_a_missing_asset_is_reported_with_its_folder_and_the_command(
    asset: str, tmp_path: Path
) -> None:
    with pytest.raises(dg.Failure) as caught:
        load(tmp_path, asset)
    text = str(caught.value.description)
    assert text.startswith(f"{asset} has no current version under {tmp_path / PREFIXES[asset]}.")
    assert f"uv run dagster asset materialize --select '*{asset}'" in text


def test_a_run_of_pca_without_features_is_reported_and_writes_nothing(
    tmp_path: Path, run: Run, error_text: Callable[[dg.ExecuteInProcessResult], str]
) -> None:
    result = run(tmp_path / "data", "pca_model+", raise_on_error=False)
    assert "mobilenet_features has no current version" in error_text(result)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("asset", TABLES)
def test_a_table_is_loaded_as_its_current_version(
    asset: str, stored: Path, current: Callable[[Path, str], Snapshot]
) -> None:
    snapshot = load(stored, asset)
    assert snapshot == current(stored, asset)
    assert snapshot.rows == TABLES[asset]


def test_models_are_loaded_as_they_were_stored(stored: Path) -> None:
    model = files.load(load(stored, "mobilenet_model"))
    assert model.content[4:8] == b"TFL3"
    assert load_current(load(stored, "pca_model")).model_sha256 == model.sha256


def test_the_csv_export_is_loaded_with_the_location_of_its_file(stored: Path) -> None:
    assert len(load(stored, "csv_export").data_location.read().splitlines()) == 241


def test_a_storage_whose_name_has_wildcards_is_written_and_read(
    tmp_path: Path, run: Run, copy_pictures: Callable[..., Path], read: Callable[..., pa.Table]
) -> None:
    pictures = copy_pictures(tmp_path / "in [1] {a,b} *? é %20", 4)
    root = tmp_path / "data [2] {c,d} *? ü"
    run(root, "raw_images", source=pictures)
    assert load(root, "raw_images").rows == 4
    paths = read(root, "raw_images")["path"].to_pylist()
    assert paths == sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.jpg"))


def test_a_version_of_newer_code_is_refused(copied: Path) -> None:
    log = copied / PREFIXES["raw_images"] / "_delta_log" / f"{0:020}.json"
    text = log.read_text()
    assert '\\"format\\":2' in text
    log.write_text(text.replace('\\"format\\":2', '\\"format\\":3'))
    with pytest.raises(dg.Failure, match="format 3, but this release reads formats up to 2"):
        load(copied, "raw_images")


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_model"])
def test_storage_of_the_first_edition_is_refused_with_the_remedy_and_not_changed(
    asset: str, tmp_path: Path, run: Run, error_text: Callable[[dg.ExecuteInProcessResult], str]
) -> None:
    folder = tmp_path / PREFIXES[asset]
    (folder / "versions").mkdir(parents=True)
    (folder / "current.json").write_text('{"format": 1, "current": {}}')
    result = run(tmp_path, asset, raise_on_error=False)
    text = error_text(result)
    assert f"{asset}: {folder} was written by the first edition" in text
    assert "Set FRUITS_STORAGE to a new folder" in text
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["current.json"]


def test_a_storage_that_delta_would_misread_is_refused_by_name_before_anything_is_written(
    tmp_path: Path, run: Run, error_text: Callable[[dg.ExecuteInProcessResult], str]
) -> None:
    root = tmp_path / "data %20"
    result = run(root, "raw_images", raise_on_error=False)
    assert "misreads '%20' in a path" in error_text(result)
    assert "Set FRUITS_STORAGE to a folder without it" in error_text(result)
    assert not root.exists()


def test_a_missing_asset_cannot_be_unchanged(tmp_path: Path) -> None:
    storage = AssetStorage(root=str(tmp_path))
    change = Change.none(storage.tables.begin("raw_images", "a-run"))
    context = dg.build_output_context(asset_key=dg.AssetKey("raw_images"))
    with pytest.raises(ValueError, match="raw_images has no version yet"):
        DeltaIOManager(storage=storage).store(change, context)
