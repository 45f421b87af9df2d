"""Every file is a picture or a reject, once; what is kept of it and what is not."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import DataFrame, Row, SparkSession

from spark_src.errors import InputError
from spark_src.images.ingest import (
    Source,
    accepted,
    content_digest,
    inspect,
    list_source,
    rejected,
    require_few_rejections,
    split_and_label,
)
from spark_src.images.validate import Limits
from spark_src.io.locations import Location
from spark_src.tables.schemas import require_columns

PLACE = "48.8566N 2.3522E"
GPS, MAP_DATUM, ORIENTATION = 0x8825, 0x12, 0x0112


def jpeg(colour: int = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (9, 7), (colour % 256, colour // 256, 99))
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (colour, 0, 99)).save(buffer, "PNG")
    return buffer.getvalue()


def gps_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[GPS] = {MAP_DATUM: PLACE}
    return exif


def fill(folder: Path, files: dict[str, bytes]) -> Source:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return list_source(Location.parse(str(folder)))


def tables(
    spark: SparkSession, source: Source, limits: Limits | None = None
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Accepted and rejected rows by path, none of them twice."""
    inspected = inspect(spark, source, limits or Limits())
    images = require_columns(accepted(inspected), "raw_images").collect()
    ledger = require_columns(rejected(inspected), "rejected_images").collect()
    inspected.unpersist()
    paths = [row.path for row in images + ledger]
    assert sorted(paths) == sorted(source.sizes)
    return {row.path: row for row in images}, {row.path: row for row in ledger}


def digest(spark: SparkSession, source: Source) -> str:
    inspected = inspect(spark, source, Limits())
    found = content_digest(accepted(inspected))
    inspected.unpersist()
    return found


def test_every_odd_file_is_in_exactly_one_table_with_its_reason(
    spark: SparkSession, tmp_path: Path
) -> None:
    good = {"A/1.jpg": jpeg(1), "A/2.JPG": jpeg(2), "A/3.Png": png(3), "A/4.jpeg": jpeg(4)}
    good |= {"A/no extension": jpeg(5), "A/wrong.png": jpeg(6), "A/x._COPYING": jpeg(7)}
    bad = {
        "A/_DSC0001.jpg": (jpeg(8), "hidden_name"),
        "A/.hidden.jpg": (jpeg(9), "hidden_name"),
        "_folder/1.jpg": (jpeg(10), "hidden_name"),
        ".folder/deep/1.jpg": (jpeg(11), "hidden_name"),
        "A/half._COPYING_": (jpeg(12), "hidden_name"),
        "A/_metadata.jpg": (jpeg(15), "hidden_name"),
        "A/empty.jpg": (b"", "empty_file"),
        "A/notes.txt": (b"Apples, mostly.", "not_an_image"),
        "A/large.jpg": (jpeg(13) + bytes(5000), "too_many_bytes"),
        "A/phone.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format"),
        "A/cut.jpg": (jpeg(14)[:-60], "truncated"),
    }
    files = good | {name: content for name, (content, _) in bad.items()}
    images, ledger = tables(spark, fill(tmp_path, files), Limits(max_bytes=5000))
    assert set(images) == set(good)
    assert {path: row.reason for path, row in ledger.items()} == {
        path: reason for path, (_, reason) in bad.items()
    }
    assert {path: row.bytes for path, row in ledger.items()} == {
        path: len(content) for path, (content, _) in bad.items()
    }
    assert all(row.detail for row in ledger.values())


def test_names_that_spark_lets_through_though_they_begin_with_an_underscore_are_pictures(
    spark: SparkSession, tmp_path: Path
) -> None:
    names = ("_day=1/1.jpg", "_metadata/2.jpg", "A/_3=b.jpg")
    source = fill(tmp_path, {name: jpeg(1) for name in names})
    images, _ = tables(spark, source)
    assert set(images) == set(source.sizes)


def test_split_and_label_are_read_from_the_folders(spark: SparkSession, tmp_path: Path) -> None:
    expected = {
        "Training/Apple/1.jpg": ("Training", "Apple"),
        "Test/Apple/1.jpg": ("Test", "Apple"),
        "Cherry/1.jpg": (None, "Cherry"),
        "1.jpg": (None, None),
        "Test/a/b/c/d/e/f/Deep/1.jpg": ("Test", "Deep"),
    }
    images, _ = tables(spark, fill(tmp_path, {path: jpeg(1) for path in expected}))
    assert {path: (row.split, row.label) for path, row in images.items()} == expected


def test_the_sample_has_its_known_splits_and_labels(
    spark: SparkSession, sample_images: Location
) -> None:
    rows = spark.read.parquet(sample_images.hadoop).groupBy("split", "label").count().collect()
    labels = ("Apple Golden 1", "Cherry 2", "Tomato 2")
    assert {(row["split"], row["label"]): row["count"] for row in rows} == {
        **{("Training", label): 60 for label in labels},
        **{("Test", label): 20 for label in labels},
    }


def test_the_stored_picture_has_no_metadata_and_its_id_is_its_digest(
    spark: SparkSession, tmp_path: Path
) -> None:
    tagged = jpeg(1, exif=gps_exif(), comment=b"by Ada")
    assert PLACE.encode() in tagged
    images, _ = tables(spark, fill(tmp_path, {"A/1.jpg": tagged}))
    row = images["A/1.jpg"]
    assert not any(mark in row.content for mark in (b"Exif", PLACE.encode(), b"Ada"))
    assert row.image_id == hashlib.sha256(row.content).hexdigest()
    assert (row.width, row.height, row.orientation) == (9, 7, 6)


def test_duplicates_keep_both_paths_under_one_id(spark: SparkSession, tmp_path: Path) -> None:
    with_camera = jpeg(1, exif=gps_exif())
    source = fill(tmp_path, {"A/1.jpg": jpeg(1), "B/1.jpg": jpeg(1), "B/camera.jpg": with_camera})
    images, _ = tables(spark, source)
    assert len(images) == 3
    assert len({row.image_id for row in images.values()}) == 1


def test_many_small_files_are_read_by_few_tasks(spark: SparkSession, tmp_path: Path) -> None:
    source = fill(tmp_path, {f"A/{number}.jpg": jpeg(number) for number in range(600)})
    inspected = inspect(spark, source, Limits())
    assert inspected.rdd.getNumPartitions() <= 10
    assert accepted(inspected).count() == 600
    inspected.unpersist()


def test_every_opened_file_is_counted_as_done(spark: SparkSession, tmp_path: Path) -> None:
    done = spark.sparkContext.accumulator(0)
    source = fill(tmp_path, {"A/1.jpg": jpeg(1), "A/2.jpg": b"text", "B/3.jpg": jpeg(3)})
    inspected = inspect(spark, source, Limits(), done)
    assert accepted(inspected).count() == 2
    assert rejected(inspected).count() == 1
    inspected.unpersist()
    assert done.value == 3


@pytest.mark.parametrize("kind", ["missing", "empty", "only folders", "a file"])
def test_an_input_without_files_is_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "photos"
    if kind == "a file":
        folder.write_bytes(jpeg())
    elif kind != "missing":
        folder.mkdir()
    if kind == "only folders":
        (folder / "Training" / "Apple").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        list_source(Location.parse(str(folder)))
    assert str(folder) in str(caught.value)
    assert "FRUITS_INPUT" in str(caught.value)


def test_a_source_counts_files_and_bytes(tmp_path: Path) -> None:
    source = fill(tmp_path, {"A/1.jpg": b"123", "_b/.2": b"45", "3": b""})
    assert (source.files, source.bytes) == (3, 5)
    assert source.sizes == {"A/1.jpg": 3, "_b/.2": 2, "3": 0}


def test_the_content_digest_follows_content_and_place_but_not_order(
    spark: SparkSession, tmp_path: Path
) -> None:
    files = {"A/1.jpg": jpeg(1), "A/2.jpg": jpeg(2), "B/3.jpg": jpeg(3)}
    digests = {
        "first": digest(spark, fill(tmp_path / "first", files)),
        "moved": digest(
            spark, fill(tmp_path / "moved", {**files, "B/2.jpg": files.pop("A/2.jpg")})
        ),
        "fewer": digest(spark, fill(tmp_path / "fewer", files)),
        "changed": digest(spark, fill(tmp_path / "changed", {**files, "A/1.jpg": jpeg(4)})),
    }
    assert len(set(digests.values())) == 4
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    assert digest(spark, list_source(Location.parse(str(tmp_path / "copy")))) == digests["first"]


def test_the_content_digest_is_the_same_in_any_order(
    spark: SparkSession, sample_images: Location
) -> None:
    def shuffled(images: DataFrame, parts: int) -> DataFrame:
        return images.repartition(parts).sortWithinPartitions("image_id", ascending=parts > 1)

    images = spark.read.parquet(sample_images.hadoop)
    assert content_digest(shuffled(images, 1)) == content_digest(shuffled(images, 5))


def test_two_pictures_that_change_places_change_the_content_digest(
    spark: SparkSession, tmp_path: Path
) -> None:
    one = fill(tmp_path / "one", {"A/1.jpg": jpeg(1), "B/1.jpg": jpeg(2)})
    two = fill(tmp_path / "two", {"A/1.jpg": jpeg(2), "B/1.jpg": jpeg(1)})
    assert digest(spark, one) != digest(spark, two)


def test_an_input_is_stopped_only_above_the_share_of_rejects(tmp_path: Path) -> None:
    source = fill(tmp_path, {f"{number}.jpg": b"x" for number in range(20)})
    require_few_rejections(1, source, 0.05)
    with pytest.raises(InputError, match=r"2 of 20 files under .* \(10\.0%\); at most 5\.0%"):
        require_few_rejections(2, source, 0.05)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Training/Apple/1.jpg", ("Training", "Apple")),
        ("Apple/1.jpg", (None, "Apple")),
        ("1.jpg", (None, None)),
        ("Test/2024/May/Apple/1.jpg", ("Test", "Apple")),
    ],
)
def test_split_and_label_of_a_path(path: str, expected: tuple[str | None, str | None]) -> None:
    assert split_and_label(path) == expected


def test_odd_images_among_real_ones_are_accounted_for_without_metadata(
    spark: SparkSession, sample: Path, shared: Path, tmp_path: Path
) -> None:
    shutil.copytree(shared / "data" / "odd-images", tmp_path / "in" / "Test" / "Odd")
    for picture in sorted((sample / "Test" / "Cherry 2").iterdir())[:5]:
        shutil.copy(picture, tmp_path / "in")
    images, ledger = tables(spark, list_source(Location.parse(str(tmp_path / "in"))))
    assert {Path(path).name for path in ledger} == {
        "SOURCES.md",
        "broken_data_stream.png",
        "iphone_13_pro_max.HEIC",
        "truncated_image.png",
        "truncated_jpeg.jpg",
    }
    for row in images.values():
        assert b"Exif\0" not in row.content
        assert b"http://ns.adobe.com/xap" not in row.content
