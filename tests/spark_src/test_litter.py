"""Files that systems, cameras and exports leave are ignored, and counted by kind."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.errors import InputError
from spark_src.images.listing import list_files
from spark_src.images.litter import (
    EXPORT_FILES,
    SIDECARS,
    SYSTEM_FILES,
    SYSTEM_FOLDERS,
    litter_kind,
)
from spark_src.images.refresh import require_few_rejections
from spark_src.io.locations import Location
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import ingest, rows_by_path, tables_in

LITTER = {
    "Apple/.DS_Store": ".DS_Store",
    "Apple/Thumbs.db": "Thumbs.db",
    "Apple/thumbs.DB": "Thumbs.db",
    "Apple/ehthumbs.db": "Thumbs.db",
    "Apple/desktop.ini": "desktop.ini",
    "Apple/Icon\r": "Icon",
    "Apple/.picasa.ini": "picasa.ini",
    "Apple/.nomedia": ".nomedia",
    "_SUCCESS": "_SUCCESS",
    "Apple/._1.jpg": "AppleDouble",
    "__MACOSX/Apple/1.jpg": "system folders",
    "$RECYCLE.BIN/1.jpg": "system folders",
    ".Trash-1000/files/1.jpg": "system folders",
    "@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg": "system folders",
    "Apple/.1.jpg.crc": "Hadoop checksums",
    "Apple/1.xmp": "sidecars",
    "Apple/IMG_0001.AAE": "sidecars",
    "Apple/MVI_0001.THM": "sidecars",
    "Apple/.trashed-1700000000-PXL_1.jpg": "deleted files",
    "Apple/.pending-1700000000-PXL_1.jpg": "deleted files",
    "Apple/.nfs000000000a1b2c3d": "deleted files",
    "#recycle/1.jpg": "system folders",
    "Apple/.@__thumb/1.jpg": "system folders",
    "Apple/.ipynb_checkpoints/1-checkpoint.jpg": "system folders",
    "Apple/.gitkeep": "Git",
    "Apple/metadata.json": "sidecars",
    "Apple/1.avif.json": "sidecars",
    "Apple/1.jpg.json": "sidecars",
    "Apple/1.jpg.supplemental-metadata.json": "sidecars",
    "Apple/1.jpg.supplemental-met(2).json": "sidecars",
}

PICTURES = [
    "Apple/1.jpg",
    "Apple/_MG_0001.JPG",
    "Apple/.1.jpg",
    "Apple/_.jpg",
    "Apple/xmp",
    "Apple/thumbs.db.jpg",
    "Apple/desktop.ini.png",
    "DS_Store/1.jpg",
    ".trash/1.jpg",
    "Apple/1.crc",
    "Apple/.trashed.jpg",
    "Apple/.IMG_0001.HEIC.icloud",
    "recycle/1.jpg",
    "Apple/notes.json",
    "Apple/no extension",
    "git/1.jpg",
]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("path", LITTER)
def test_litter_is_classified_by_kind(path: str) -> None:
    assert litter_kind(path) == LITTER[path]


@pytest.mark.parametrize("path", PICTURES)
def test_possible_pictures_are_not_litter(path: str) -> None:
    assert litter_kind(path) is None


def test_names_in_the_lists_are_in_lower_case_as_they_are_compared() -> None:
    for names in (SYSTEM_FILES, SYSTEM_FOLDERS, SIDECARS, EXPORT_FILES):
        assert all(name == name.lower() for name in names)


def test_litter_is_counted_and_in_no_table(spark: SparkSession, tmp_path: Path) -> None:
    for path in [*LITTER, "Apple/1.jpg", "Apple/_2.jpg", "Apple/broken.jpg"]:
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(jpeg() if "broken" not in path else b"x")
    found = ingest(spark, tables_in(tmp_path / "storage"), tmp_path / "in")
    known = found.raw.typed(RawImagesStatistics)
    assert set(rows_by_path(found.raw)) == {"Apple/1.jpg", "Apple/_2.jpg"}
    assert set(rows_by_path(found.rejected)) == {"Apple/broken.jpg"}
    assert sum(known.ignored.values()) == len(LITTER)
    assert known.ignored["Thumbs.db"] == 3 and known.ignored["sidecars"] == 8
    assert known.n_listed == len(LITTER) + 3
    assert "ignored (.DS_Store 1, .nomedia 1," in str(found.plan.listing)


def test_the_video_of_a_live_photo_is_a_sidecar_and_any_other_is_not(tmp_path: Path) -> None:
    names = ["a/IMG_1.HEIC", "a/IMG_1.mov", "a/IMG_2.MOV", "b/IMG_1.MOV", "a/IMG_3.jpg"]
    names += ["a/img_3.MP4", "a/PXL_4.MP.jpg", "a/PXL_4.MP", "a/IMG_5.MOV", "a/IMG_5.mp4"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    listing = list_files(Location.parse(str(tmp_path)))
    assert listing.ignored == {"videos of live photos": 3}
    assert listing.files["path"].to_pylist() == sorted(
        set(names) - {"a/IMG_1.mov", "a/img_3.MP4", "a/PXL_4.MP"}
    )


def test_litter_does_not_count_in_the_rejected_share(tmp_path: Path) -> None:
    pictures, litter = (f"{n}.jpg" for n in range(50)), (f"{n}/.DS_Store" for n in range(98))
    for name in (*pictures, *litter):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listing = list_files(Location.parse(str(tmp_path)))
    with pytest.raises(InputError, match=r"3 of 50 files under .* \(6\.0%\)"):
        require_few_rejections(3, listing, 0.05)
