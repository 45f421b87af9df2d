"""What the UI shows besides figures: it is light, always the same, and shows nobody's photo."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fruits_assets.definitions import resources
from fruits_assets.pictures import Gallery
from fruits_assets.settings import Settings
from spark_src import plots as drawing
from spark_src.io.locations import Location
from spark_src.spark.progress import rates
from spark_src.storage import Storage
from spark_src.tables.sampling import MOST_FILES, sampled

MOST_BYTES = 300 * 1024
SHOWN = {
    "raw_images": {"pictures"},
    "rejected_images": set(),
    "mobilenet_model": set(),
    "mobilenet_features": {"throughput", "activations", "nearest neighbours"},
    "pca_model": {"variance"},
    "pca_components": {"variance", "map"},
    "csv_export": {"first rows"},
}


def decoded(markdown: str) -> Image.Image:
    data = markdown.split("base64,")[1].removesuffix(")")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def shown(root: Path, asset: str, **options: bool) -> dict[str, Any]:
    storage = Storage(Location.parse(str(root)))
    return Gallery(storage, **options).of(storage.current(asset))


@pytest.mark.parametrize("asset", SHOWN)
def test_a_materialization_shows_its_pictures_in_300_kb(
    asset: str, whole_run: dg.ExecuteInProcessResult
) -> None:
    events = whole_run.get_asset_materialization_events()
    found = next(e for e in events if e.asset_key == dg.AssetKey(asset))
    metadata = found.materialization.metadata
    assert SHOWN[asset] <= set(metadata)
    texts = {key: str(value.value) for key, value in metadata.items()}
    assert sum(map(len, texts.values())) < MOST_BYTES
    for text in texts.values():
        if "base64," in text:
            assert decoded(text).width > 100


def test_the_same_version_is_drawn_the_same(stored: Path) -> None:
    assert shown(stored, "mobilenet_features") == shown(stored, "mobilenet_features")


@pytest.mark.parametrize(
    ("split", "path"),
    [
        ("Training", "Training/photos/a.jpg"),
        ("photos", "photos/Apple/a.jpg"),
        ("", "a.jpg"),
        ("", "Apple/a.jpg"),
    ],
)
def test_a_photo_is_shown_only_where_the_setting_allows_it(
    split: str, path: str, stored: Path
) -> None:
    storage, row = Storage(Location.parse(str(stored))), {"split": split, "path": path}
    assert not Gallery(storage).may_show(row)
    assert Gallery(storage, show_photos=True).may_show(row)


def test_pictures_of_a_photo_folder_stay_out_of_the_metadata(
    tmp_path: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    copy_pictures: Callable[..., Path],
) -> None:
    run(tmp_path / "data", "raw_images", source=copy_pictures(tmp_path / "in" / "photos", 4).parent)
    hidden = shown(tmp_path / "data", "raw_images")["pictures"].value
    assert "base64" not in hidden and "FRUITS_SHOW_PHOTOS" in hidden
    allowed = shown(tmp_path / "data", "raw_images", show_photos=True)["pictures"].value
    assert decoded(allowed).width > 100


def test_a_run_that_featurized_nothing_shows_no_throughput(
    copied: Path, run: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    before = shown(copied, "mobilenet_features")
    result = run(copied, "mobilenet_features")
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["pictures featurized"].value == 0
    after = shown(copied, "mobilenet_features")
    assert before.keys() - after.keys() == {"throughput"}


def test_a_long_runs_throughput_is_light_and_says_how_much_it_was() -> None:
    points = [(0.0, 0), *((n * 1.3, n * 256) for n in range(1, 200))]
    edges, found = rates(points)
    drawn = drawing.throughput(edges, found, images=points[-1][1])
    assert len(base64.b64encode(drawn)) < MOST_BYTES / 10
    assert Image.open(io.BytesIO(drawn)).width > 600


def test_a_sample_of_a_large_table_is_bounded_and_spread(tmp_path: Path) -> None:
    for number in range(2 * MOST_FILES):
        pq.write_table(pa.table({"n": [number] * 500}), tmp_path / f"part-{number:03}.parquet")
    found = sampled(Location.parse(str(tmp_path)), ["n"], 320)
    assert found is not None
    assert found.num_rows == 320
    numbers = set(found["n"].to_pylist())
    assert len(numbers) == MOST_FILES and {0, 2 * MOST_FILES - 1} <= numbers


def test_a_sheet_and_a_map_of_131_labels_are_light() -> None:
    random = np.random.default_rng(1)
    noise = io.BytesIO()
    pixels = random.integers(0, 256, (100, 100, 3), np.uint8)
    Image.fromarray(pixels).save(noise, "JPEG")  # nothing compresses worse
    sheet = drawing.contact_sheet([(f"Variety {n}", noise.getvalue(), 1) for n in range(131)])
    centres = random.normal(0, 8, (131, 2))
    points = np.repeat(centres, 30, axis=0) + random.normal(0, 1, (131 * 30, 2))
    labels = [f"Variety {n}" for n in range(131) for _ in range(30)]
    drawn = drawing.label_map(points.astype(np.float32), labels)
    for picture in (sheet, drawn):
        assert len(base64.b64encode(picture)) < MOST_BYTES * 0.85


def test_the_setting_reaches_the_storage(tmp_path: Path) -> None:
    assert not resources(Settings(storage=str(tmp_path)))["storage"].show_photos
    assert resources(Settings(storage=str(tmp_path), show_photos=True))["storage"].show_photos
