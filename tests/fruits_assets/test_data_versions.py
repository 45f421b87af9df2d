"""Data versions reflect changes, so that Dagster knows which assets are stale."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

Run = Callable[..., dg.ExecuteInProcessResult]


def version_of(asset: str, result: dg.ExecuteInProcessResult) -> str:
    events = result.get_asset_materialization_events()
    (found,) = [e.materialization for e in events if e.asset_key == dg.AssetKey(asset)]
    return str((found.tags or {})["dagster/data_version"])


@pytest.fixture
def pictures(copy_pictures: Callable[..., Path], tmp_path: Path) -> Path:
    """Eight pictures."""
    return copy_pictures(tmp_path / "input", 8)


@pytest.fixture
def ingest(run: Run, pictures: Path, tmp_path: Path) -> Callable[[], str]:
    """Materialize the pictures and return their data version."""
    return lambda: version_of("raw_images", run(tmp_path / "data", "raw_images", source=pictures))


@pytest.fixture(scope="module")
def before(
    run: Run, copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The data version of the eight pictures in another folder and storage."""
    folder = tmp_path_factory.mktemp("before")
    pictures = copy_pictures(folder / "input", 8)
    return version_of("raw_images", run(folder / "data", "raw_images", source=pictures))


def test_the_same_pictures_keep_the_data_version(ingest: Callable[[], str], before: str) -> None:
    assert ingest() == before


def test_an_additional_picture_changes_the_data_version(
    ingest: Callable[[], str], before: str, pictures: Path, sample: Path
) -> None:
    shutil.copyfile(max(sample.rglob("*.jpg")), pictures / "another.jpg")
    assert ingest() != before


def test_a_picture_moved_to_another_label_changes_the_data_version(
    ingest: Callable[[], str], before: str, pictures: Path
) -> None:
    picture = min(pictures.rglob("*.jpg"))
    label = picture.parent.with_name("Pear")
    label.mkdir()
    picture.rename(label / picture.name)
    assert ingest() != before


def test_swapping_two_pictures_changes_the_data_version(
    ingest: Callable[[], str], before: str, pictures: Path
) -> None:
    first, *_, last = sorted(pictures.rglob("*.jpg"))
    content = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(content)
    assert ingest() != before


def test_the_models_data_version_is_its_digest(whole_run: dg.ExecuteInProcessResult) -> None:
    events = whole_run.get_asset_materialization_events()
    (found,) = [e.materialization for e in events if e.asset_key == dg.AssetKey("mobilenet_model")]
    shown = str(found.metadata["model sha256"].value)
    assert version_of("mobilenet_model", whole_run).startswith(shown.removesuffix("…"))


def test_every_asset_records_the_versions_of_its_inputs(
    whole_run: dg.ExecuteInProcessResult,
) -> None:
    sources = {
        "mobilenet_features": ("raw_images", "mobilenet_model"),
        "pca_model": ("mobilenet_features",),
        "pca_components": ("mobilenet_features", "pca_model"),
        "csv_export": ("pca_components",),
        "embedding_quality": ("mobilenet_features", "pca_model", "pca_components"),
        "data_health": ("raw_images", "mobilenet_features", "pca_components"),
        "fruit_classifier": ("mobilenet_model", "mobilenet_features", "pca_components"),
        "label_issues": ("raw_images", "pca_components"),
    }
    for event in whole_run.get_asset_materialization_events():
        made = event.materialization
        for source in sources.get(made.asset_key.to_user_string(), ()):
            noted = (made.tags or {})[f"dagster/input_data_version/{source}"]
            assert noted == version_of(source, whole_run)


def test_another_number_of_components_changes_the_data_version(copied: Path, run: Run) -> None:
    """Otherwise csv_export, which still has the old columns, would not be shown as stale."""
    with dg.DagsterInstance.ephemeral() as instance:
        results = [
            run(
                copied,
                "key:pca_model or key:pca_components",
                ops={"pca_model": {"n_components": number}},
                instance=instance,
            )
            for number in (3, 4, 3)
        ]
    for asset in ("pca_model", "pca_components"):
        three, four, again = (version_of(asset, result) for result in results)
        assert three == again
        assert three != four
