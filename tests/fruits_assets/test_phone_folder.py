"""A folder of one person's ten phone photos: all assets are built, and no photo metadata is kept.
It is also a typical first try with few pictures, which limits the number of components.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fruits_assets.checks.run_checks import Outcome
from spark_src.embed import embedding
from spark_src.features import files
from spark_src.pca.fit import load_current
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import PcaModelStatistics
from tests.phone_photos import MARK, write_photos

Run = Callable[..., dg.ExecuteInProcessResult]
Read = Callable[..., pa.Table]
Current = Callable[[Path, str], Snapshot]


@pytest.fixture(scope="module")
def phone_run(
    run: Run, stored: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, list[str]]:
    """Input, storage, and the run's log. Read-only."""
    root = tmp_path_factory.mktemp("phone")
    write_photos(root / "in" / "photos" / "4711" / "Apple", sample)
    (root / "in" / "photos" / ".DS_Store").write_bytes(b"litter")
    shutil.copytree(stored / "Models", root / "data" / "Models")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(root / "data", source=root / "in", instance=instance)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    return root / "in", root / "data", logged


@pytest.fixture
def rows(phone_run: tuple[Path, Path, list[str]], read: Read) -> dict[str, dict[str, Any]]:
    """Rows of `raw_images` by the file's name."""
    return {Path(row["path"]).name: row for row in read(phone_run[1], "raw_images").to_pylist()}


def test_every_photo_is_accepted_and_has_features_and_components(
    phone_run: tuple[Path, Path, list[str]], rows: dict[str, Any], read: Read
) -> None:
    names = {path.name for path in (phone_run[0] / "photos" / "4711" / "Apple").iterdir()}
    assert len(names) == 10
    assert set(rows) == names
    for asset, column, length in (
        ("mobilenet_features", "features", 1280),
        ("pca_components", "pca", 9),
    ):
        vectors = read(phone_run[1], asset)[column].to_pylist()
        assert len(vectors) == 10
        assert np.isfinite(np.array(vectors, np.float64)).all()
        assert {len(vector) for vector in vectors} == {length}


def test_stored_pictures_are_jpeg_or_png_of_limited_size(rows: dict[str, Any]) -> None:
    kinds = {}
    for name, row in rows.items():
        with Image.open(io.BytesIO(row["content"]), formats=("JPEG", "PNG")) as kept:
            assert max(kept.size) <= 1024
            assert kept.size == (row["width"], row["height"])
            kinds[name] = kept.format
    assert kinds["IMG_0000.HEIC"] == kinds["a.webp"] == kinds["c.avif"] == "PNG"
    assert kinds["IMG_0001.HEIC"] == kinds["b.webp"] == kinds["PXL_0001.jpg"] == "JPEG"
    assert (rows["PXL_0001.jpg"]["width"], rows["PXL_0001.jpg"]["height"]) == (1008, 756)
    assert rows["PXL_0001.jpg"]["orientation"] == rows["a.webp"]["orientation"] == 6


def test_no_metadata_of_a_photo_is_in_the_storage(phone_run: tuple[Path, Path, list[str]]) -> None:
    source, storage, logged = phone_run
    assert any(MARK.encode() in path.read_bytes() for path in source.rglob("*.HEIC"))
    marks = [MARK.encode(), MARK.encode("utf-16-le"), b"Exif\0\0"]
    for path in storage.rglob("*"):
        if path.is_file() and path.suffix != ".tflite":
            content = path.read_bytes()
            assert not any(mark in content for mark in marks), path.name
    assert not any(MARK in text for text in logged)


def test_label_and_person_are_distinguished(rows: dict[str, Any]) -> None:
    assert {(row["split"], row["label"]) for row in rows.values()} == {(None, "Apple")}


def test_the_layout_of_the_folder_is_logged_first(
    phone_run: tuple[Path, Path, list[str]],
) -> None:
    expected = "10 pictures: no splits; 1 label; 10 photos of people; 1 ignored (.DS_Store 1)"
    assert expected in phone_run[2]


def test_embedding_a_photo_equals_its_row(
    phone_run: tuple[Path, Path, list[str]], read: Read, current: Current
) -> None:
    source, storage, _ = phone_run
    model, pca = (current(storage, name) for name in ("mobilenet_model", "pca_model"))
    for row in read(storage, "pca_components").to_pylist():
        content = (source / row["path"]).read_bytes()
        found = embedding(content, files.load(model), load_current(pca))
        assert found.image_id == row["image_id"]
        np.testing.assert_allclose(found.components, row["pca"], atol=1e-5)


def test_the_number_of_components_is_limited_by_the_photos_and_reported(
    phone_run: tuple[Path, Path, list[str]],
    current: Current,
    check: Callable[[Path], dict[str, Outcome]],
) -> None:
    known = current(phone_run[1], "pca_model").typed(PcaModelStatistics)
    assert (known.n_components_requested, known.n_components) == (50, 9)
    note = "50 components are requested and 9 kept: there are 10 images"
    assert any(note in text for text in phone_run[2])
    outcomes = check(phone_run[1])
    assert note in str(outcomes["pca_components:variance_is_explained"])
    assert [name for name, outcome in outcomes.items() if outcome.verdict != "passes"] == []
