"""UI previews are small, deterministic, and show no personal photos."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fruits_assets.definitions import resources
from fruits_assets.materialization import preview
from fruits_assets.previews import Gallery, nearest_of_each_film
from fruits_assets.settings import Settings
from spark_src import plots as drawing
from spark_src.spark.progress import rates
from spark_src.tables.parquet import write_file
from spark_src.tables.sampling import MAX_FILES, sample_rows
from spark_src.tables.schemas import REJECTED_IMAGES
from spark_src.tables.statistics import RejectedImagesStatistics
from tests.pipeline import tables_in

Metadata = Mapping[str, dg.MetadataValue]
Run = Callable[..., dg.ExecuteInProcessResult]

MOST_BYTES = 300 * 1024
SHOWN = {
    "raw_images": {"one picture of each label"},
    "rejected_images": set(),
    "mobilenet_model": set(),
    "mobilenet_features": {"nearest neighbours", "histogram of the features"},
    "pca_model": {"explained variance by component"},
    "pca_components": {"map of the first two components"},
    "csv_export": {"first rows"},
    "data_health": {"duplicates, side by side"},
    "fruit_classifier": {"most confused labels"},
    "label_issues": {"doubtful labels and suggestions", "doubtful labels"},
}

LOCATIONS = {"dagster/uri", "input", "weights"}


def decoded(markdown: str) -> Image.Image:
    data = markdown.split("base64,")[1].removesuffix(")")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def shown(root: Path, asset: str, **options: bool) -> dict[str, Any]:
    tables = tables_in(root)
    return preview(Gallery(tables, **options), tables.current(asset))


def shown_in(result: dg.ExecuteInProcessResult, asset: str) -> Metadata:
    events = result.get_asset_materialization_events()
    return next(e for e in events if e.asset_key == dg.AssetKey(asset)).materialization.metadata


ALLOWING_JUNK = {"ingest": {"max_rejected_share": 0.5}}
PEOPLE = ("subject-4711", "Jane Doe", "jane.doe")


@pytest.fixture(scope="module")
def people(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input with 16 photos of two people, and for each a file that is not a picture."""
    source = tmp_path_factory.mktemp("people")
    pictures = sorted(sample.rglob("*.jpg"))
    for number, place in enumerate(
        ["subject-4711", "subject-4711/Apple", "Jane Doe", "Jane Doe/Apple"]
    ):
        folder = source / "photos" / place
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures[number * 60 :][:4]:
            shutil.copyfile(picture, folder / picture.name)
    for person in ("subject-4711", "Jane Doe"):
        (source / "photos" / person / "jane.doe.txt").write_text("no picture")
    return source


@pytest.fixture(scope="module")
def photos(people: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with those photos. Read-only."""
    root = tmp_path_factory.mktemp("photos") / "data"
    run(root, "raw_images", source=people, ops=ALLOWING_JUNK)
    return root


@pytest.mark.parametrize("asset", SHOWN)
def test_a_materialization_shows_its_pictures_in_300_kb(
    asset: str, whole_run: dg.ExecuteInProcessResult
) -> None:
    metadata = shown_in(whole_run, asset)
    assert set(list(metadata)[: len(SHOWN[asset])]) == SHOWN[asset]  # first on the asset's page
    texts = {key: str(value.value) for key, value in metadata.items()}
    assert sum(map(len, texts.values())) < MOST_BYTES
    for text in texts.values():
        if "base64," in text:
            assert decoded(text).width > 100


@pytest.mark.parametrize("asset", [*SHOWN, "embedding_quality"])
def test_the_metadata_of_an_asset_fits_the_page(
    asset: str, whole_run: dg.ExecuteInProcessResult
) -> None:
    """A longer word, or a wider table, would push the ends of all rows out of the page."""
    for name, value in shown_in(whole_run, asset).items():
        if isinstance(value, dg.TableMetadataValue):
            assert sum(len(column.name) for column in value.schema.columns) <= 50, name
        elif isinstance(value, dg.TextMetadataValue) and name not in LOCATIONS:
            assert max(map(len, str(value.value).split()), default=0) <= 40, name


@pytest.mark.parametrize("asset", [*SHOWN, "embedding_quality"])
def test_no_text_is_shown_twice(asset: str, whole_run: dg.ExecuteInProcessResult) -> None:
    metadata = shown_in(whole_run, asset)
    sentences = [str(value.value) for value in metadata.values() if " " in str(value.value)]
    texts = [text for text in sentences if not text.startswith("[")]
    assert len(texts) == len(set(texts))


def test_the_notebook_shows_pictures_that_exist(stored: Path) -> None:
    source = (Path(__file__).parents[2] / "notebooks" / "explore.ipynb").read_text()
    call = r'preview_picture\(gallery, current\[\\"(\w+)\\"\], \\"([^"\\]+)\\"\)'
    named = re.findall(call, source)
    assert len(named) == 3
    for asset, name in named:
        assert name in shown(stored, asset)


def test_previews_of_the_same_version_are_identical(stored: Path) -> None:
    assert shown(stored, "mobilenet_features") == shown(stored, "mobilenet_features")


@pytest.mark.parametrize(
    ("split", "path"),
    [
        ("Training", "Training/photos/a.jpg"),
        (None, "photos/4711/Apple/a.jpg"),
        ("Training", "photos/a.jpg"),
        (None, "a.jpg"),
        (None, "Apple/a.jpg"),
    ],
)
def test_a_photo_is_shown_only_if_the_setting_allows_it(
    split: str | None, path: str, tmp_path: Path
) -> None:
    tables, row = tables_in(tmp_path), {"split": split, "path": path}
    assert not Gallery(tables).may_show(row)
    assert Gallery(tables, show_photos=True).may_show(row)


def test_pictures_of_a_photo_folder_stay_out_of_the_metadata(photos: Path) -> None:
    hidden = shown(photos, "raw_images")["one picture of each label"].value
    assert "base64" not in hidden and "FRUITS_SHOW_PHOTOS" in hidden
    allowed = shown(photos, "raw_images", show_photos=True)["one picture of each label"].value
    assert decoded(allowed).width > 100


def test_dagsters_records_of_a_run_contain_no_person(people: Path, copied: Path, run: Run) -> None:
    ops = {"pca_model": {"n_components": 2}} | ALLOWING_JUNK
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(copied, "raw_images*", source=people, ops=ops, instance=instance)
        kept = [event.to_json() for event in instance.all_logs(result.run_id)]
    texts = [*kept, *map(str, result.get_asset_materialization_events())]
    assert len(kept) > 100
    assert [text for text in texts for name in PEOPLE if name in text] == []
    labels = shown_in(result, "raw_images")["images by label"]
    assert isinstance(labels, dg.TableMetadataValue)
    assert [record.data for record in labels.records] == [{"label": "(none)", "images": 16}]


def test_an_unchanged_asset_keeps_its_preview(copied: Path, run: Run) -> None:
    select, ops = "pca_model+", {"pca_model": {"n_components": 3}}
    with dg.DagsterInstance.ephemeral() as instance:
        first, second = (run(copied, select, ops=ops, instance=instance) for _ in range(2))
    for asset in ("pca_model", "pca_components", "csv_export"):
        before, after = (shown_in(result, asset) for result in (first, second))
        assert (before["unchanged"].value, after["unchanged"].value) == (False, True)
        drawn = set(shown(copied, asset))
        assert drawn
        assert {name: after[name] for name in drawn} == {name: before[name] for name in drawn}


def test_an_unchanged_asset_shows_nothing_of_another_storage(
    copied: Path, stored: Path, run: Run
) -> None:
    select, ops = "pca_model", {"pca_model": {"n_components": 3}}
    with dg.DagsterInstance.ephemeral() as instance:
        run(copied, select, ops=ops, instance=instance)
        result = run(stored, select, instance=instance)
    found = shown_in(result, "pca_model")
    assert found["unchanged"].value is True
    assert (
        found["explained variance by component"]
        == (shown(stored, "pca_model")["explained variance by component"])
    )


def test_the_neighbours_of_a_picture_are_of_other_films() -> None:
    paths = [f"Training/A/{number}_100.jpg" for number in range(4)]
    paths += [f"Training/A/r_{number}_100.jpg" for number in range(3)]
    paths += ["Training/B/0_100.jpg", "Training/C/photo.jpg", "Training/C/other.jpg"]
    rows = [{"path": path, "label": path.split("/")[1]} for path in paths]
    rows[1]["label"] = "corrected"
    cosines = np.linspace(1, 0.1, len(rows))
    assert nearest_of_each_film(0, cosines, rows) == [4, 7, 8, 9, 1]


def test_an_unchanged_asset_hides_photos_after_the_setting_is_unset(
    people: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = partial(run, tmp_path / "data", "raw_images", source=people, ops=ALLOWING_JUNK)
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("FRUITS_SHOW_PHOTOS", "true")
        showing = ask(instance=instance)
        monkeypatch.delenv("FRUITS_SHOW_PHOTOS")
        hiding = ask(instance=instance)
    assert "base64" in str(shown_in(showing, "raw_images")["one picture of each label"].value)
    assert shown_in(hiding, "raw_images")["unchanged"].value is True
    assert "base64" not in str(shown_in(hiding, "raw_images")["one picture of each label"].value)


def test_a_version_whose_run_computed_little_shows_no_throughput(
    copied: Path, set_statistics: Callable[..., Any]
) -> None:
    steady = [(float(second), 12 * second) for second in range(21)]
    set_statistics(copied, "mobilenet_features", progress=steady)
    before = shown(copied, "mobilenet_features")
    for nothing_to_plot in ([], steady[:2]):
        set_statistics(copied, "mobilenet_features", progress=nothing_to_plot)
        after = shown(copied, "mobilenet_features")
        assert before.keys() - after.keys() == {"images per second over the run"}


def test_the_throughput_plot_of_a_long_run_is_small_and_has_totals() -> None:
    points = [(0.0, 0), *((n * 1.3, n * 256) for n in range(1, 200))]
    edges, found = rates(points)
    drawn = drawing.throughput(edges, found, images=points[-1][1])
    assert len(base64.b64encode(drawn)) < MOST_BYTES / 10
    assert Image.open(io.BytesIO(drawn)).width > 600


def test_a_sample_of_a_large_table_is_bounded_and_spread(tmp_path: Path) -> None:
    write = tables_in(tmp_path).begin("rejected_images", "a-run")
    files = [
        write_file(
            [pa.Table.from_pylist([{"bytes": number}] * 500, REJECTED_IMAGES)],
            write.folder,
            f"part-{number:03}.parquet",
            REJECTED_IMAGES,
        )
        for number in range(2 * MAX_FILES)
    ]
    statistics = RejectedImagesStatistics(digest="digest", input="input", fingerprint="rules")
    found = sample_rows(write.commit(statistics, files), ["bytes"], 320)
    assert found is not None
    assert found.num_rows == 320
    numbers = set(found["bytes"].to_pylist())
    assert len(numbers) == MAX_FILES and {0, 2 * MAX_FILES - 1} <= numbers


def test_a_sheet_and_a_map_of_131_labels_are_small() -> None:
    random = np.random.default_rng(1)
    noise = io.BytesIO()
    pixels = random.integers(0, 256, (100, 100, 3), np.uint8)
    Image.fromarray(pixels).save(noise, "JPEG")  # noise is the worst case for compression
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
