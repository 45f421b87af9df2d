"""Every file is accepted, rejected or ignored exactly once, and stored without metadata."""

from __future__ import annotations

import hashlib
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.errors import InputError
from spark_src.images.layout import split_and_label
from spark_src.images.listing import Listing, list_files
from spark_src.images.refresh import require_few_rejections
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import ingest, rows_by_path, table_of, tables_in

PLACE = "48.8566N 2.3522E"
GPS, MAP_DATUM, ORIENTATION = 0x8825, 0x12, 0x0112

Rows = dict[str, dict[str, Any]]


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


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tables(spark: SparkSession, source: Path, limits: Limits | None = None) -> tuple[Rows, Rows]:
    """Accepted and rejected rows by path. With the ignored files, these are all files."""
    found = ingest(spark, tables_in(source.with_name(f"{source.name} ingested")), source, limits)
    images, ledger = rows_by_path(found.raw), rows_by_path(found.rejected)
    assert not images.keys() & ledger.keys()
    known = found.raw.typed(RawImagesStatistics)
    n_files = sum(not path.is_dir() for path in source.rglob("*"))
    assert len(images) + len(ledger) + sum(known.ignored.values()) == known.n_listed == n_files
    return images, ledger


def digest(spark: SparkSession, source: Path) -> str:
    storage = tables_in(source.with_name(f"{source.name} ingested"))
    return ingest(spark, storage, source).raw.statistics.digest


def test_every_odd_file_is_in_exactly_one_table_with_its_reason(
    spark: SparkSession, tmp_path: Path
) -> None:
    good = {"A/1.jpg": jpeg(1), "A/2.JPG": jpeg(2), "A/3.Png": png(3), "A/4.jpeg": jpeg(4)}
    good |= {"A/no extension": jpeg(5), "A/wrong.png": jpeg(6), "A/x._COPYING": jpeg(7)}
    bad = {
        "A/empty.jpg": (b"", "empty_file"),
        "A/notes.txt": (b"Apples, mostly.", "not_an_image"),
        "A/large.jpg": (jpeg(13) + bytes(5000), "too_many_bytes"),
        "A/phone.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "broken"),
        "A/moving.gif": (b"GIF89a", "unsupported_format"),
        "A/cut.jpg": (jpeg(14)[:-60], "truncated"),
    }
    files = good | {name: content for name, (content, _) in bad.items()}
    source = fill(tmp_path / "in", files)
    images, ledger = tables(spark, source, Limits(max_bytes=5000))
    assert set(images) == set(good)
    assert {path: row["reason"] for path, row in ledger.items()} == {
        path: reason for path, (_, reason) in bad.items()
    }
    assert {path: row["bytes"] for path, row in ledger.items()} == {
        path: len(content) for path, (content, _) in bad.items()
    }
    assert all(row["detail"] for row in ledger.values())


def test_names_that_spark_hides_are_pictures_like_any_other(
    spark: SparkSession, tmp_path: Path
) -> None:
    names = ["A/_MG_0001.jpg", "A/.hidden.jpg", "_folder/1.jpg", ".folder/deep/1.jpg"]
    names += ["A/half._COPYING_", "A/_metadata.jpg", "_day=1/1.jpg", "A/_3=b.jpg"]
    images, _ = tables(spark, fill(tmp_path / "in", {name: jpeg(1) for name in names}))
    assert set(images) == set(names)


def test_split_and_label_are_read_from_the_folders(spark: SparkSession, tmp_path: Path) -> None:
    expected = {
        "Training/Apple/1.jpg": ("Training", "Apple"),
        "Test/Apple/1.jpg": ("Test", "Apple"),
        "Cherry/1.jpg": (None, "Cherry"),
        "1.jpg": (None, None),
        "Test/a/b/c/d/e/f/Deep/1.jpg": ("Test", "Deep"),
        "photos/4711/1.jpg": (None, None),
        "photos/4711/Apple/1.jpg": (None, "Apple"),
        "Photos/4712/1.jpg": (None, None),
    }
    images, _ = tables(spark, fill(tmp_path / "in", {path: jpeg(1) for path in expected}))
    assert {path: (row["split"], row["label"]) for path, row in images.items()} == expected


def test_the_sample_has_its_known_splits_and_labels(sample_raw: Snapshot) -> None:
    labels = ("Apple Golden 1", "Cherry 2", "Tomato 2")
    counts = table_of(sample_raw).group_by(["split", "label"]).aggregate([("path", "count")])
    assert {(row["split"], row["label"]): row["path_count"] for row in counts.to_pylist()} == {
        **{("Training", label): 60 for label in labels},
        **{("Test", label): 20 for label in labels},
    }
    known = sample_raw.typed(RawImagesStatistics)
    assert known.splits == {"Training": 180, "Test": 60}
    assert known.labels == dict.fromkeys(labels, 80)


def test_the_stored_picture_has_no_metadata_and_its_id_is_its_digest(
    spark: SparkSession, tmp_path: Path
) -> None:
    tagged = jpeg(1, exif=gps_exif(), comment=b"by Ada")
    assert PLACE.encode() in tagged
    images, _ = tables(spark, fill(tmp_path / "in", {"A/1.jpg": tagged}))
    row = images["A/1.jpg"]
    assert not any(mark in row["content"] for mark in (b"Exif", PLACE.encode(), b"Ada"))
    assert row["image_id"] == hashlib.sha256(row["content"]).hexdigest()
    assert (row["width"], row["height"], row["orientation"]) == (9, 7, 6)


def test_a_row_has_size_and_time_of_its_file_when_it_was_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = fill(tmp_path / "in", {"A/1.jpg": jpeg(1, exif=gps_exif()), "A/2.txt": b"text"})
    images, ledger = tables(spark, source)
    for path, row, size in (
        ("A/1.jpg", images["A/1.jpg"], "source_bytes"),
        ("A/2.txt", ledger["A/2.txt"], "bytes"),
    ):
        found = (source / path).stat()
        modified = datetime.fromtimestamp(found.st_mtime_ns // 1000 / 1e6, UTC)
        assert row[size] == found.st_size
        assert abs((row["source_modified"] - modified).total_seconds()) < 1e-5
        assert row["source_etag"] is None


def test_duplicates_keep_both_paths_under_one_id(spark: SparkSession, tmp_path: Path) -> None:
    files = {"A/1.jpg": jpeg(1), "B/1.jpg": jpeg(1), "B/camera.jpg": jpeg(1, exif=gps_exif())}
    images, _ = tables(spark, fill(tmp_path / "in", files))
    assert len(images) == 3
    assert len({row["image_id"] for row in images.values()}) == 1


def test_many_small_pictures_are_stored_in_few_files_sorted_by_path(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = fill(tmp_path / "in", {f"A/{number}.jpg": jpeg(number) for number in range(600)})
    raw = ingest(spark, tables_in(tmp_path / "storage"), source).raw
    paths = table_of(raw)["path"].to_pylist()
    assert len(raw.files) <= 10
    assert len(paths) == 600
    assert paths == sorted(paths)


def test_every_listed_file_is_counted_as_done(spark: SparkSession, tmp_path: Path) -> None:
    done = spark.sparkContext.accumulator(0)
    files = {"A/1.jpg": jpeg(1), "A/2.jpg": b"text", "B/3.jpg": jpeg(3), "B/4.jpg": b""}
    ingest(spark, tables_in(tmp_path / "storage"), fill(tmp_path / "in", files), done=done)
    assert done.value == 4


def test_the_digest_depends_on_content_and_path_but_not_on_order(
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
    assert digest(spark, tmp_path / "copy") == digests["first"]


def test_the_same_input_gives_the_same_table(
    spark: SparkSession, sample: Path, sample_raw: Snapshot, tmp_path: Path
) -> None:
    again = ingest(spark, tables_in(tmp_path), sample).raw
    assert table_of(again).equals(table_of(sample_raw))
    assert again.statistics.digest == sample_raw.statistics.digest


def test_swapping_two_pictures_changes_the_digest(spark: SparkSession, tmp_path: Path) -> None:
    one = fill(tmp_path / "one", {"A/1.jpg": jpeg(1), "B/1.jpg": jpeg(2)})
    two = fill(tmp_path / "two", {"A/1.jpg": jpeg(2), "B/1.jpg": jpeg(1)})
    assert digest(spark, one) != digest(spark, two)


def listing_of(folder: Path, n_files: int) -> Listing:
    files = {f"{number}.jpg": b"x" for number in range(n_files)}
    return list_files(Location.parse(str(fill(folder, files | {".DS_Store": b"x"}))))


def test_an_input_is_refused_only_above_the_rejected_share(tmp_path: Path) -> None:
    listing = listing_of(tmp_path, 60)
    require_few_rejections(3, listing, 0.05)
    require_few_rejections(6, listing, 0.1)
    with pytest.raises(InputError, match=r"6 of 60 files under .* \(10\.0%\); the limit is 5\.0%"):
        require_few_rejections(6, listing, 0.05)
    with pytest.raises(InputError, match=r"--set ingest\.max_rejected_share=0\.12`"):
        require_few_rejections(7, listing, 0.05)


def test_the_rejected_share_is_checked_from_50_files_on(tmp_path: Path) -> None:
    require_few_rejections(48, listing_of(tmp_path / "few", 49), 0.05)
    with pytest.raises(InputError, match=r"3 of 50 files"):
        require_few_rejections(3, listing_of(tmp_path / "enough", 50), 0.05)


def test_an_input_without_any_picture_is_refused_whatever_the_share(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 of 3 files under .* so there is no picture"):
        require_few_rejections(3, listing_of(tmp_path, 3), 1.0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Training/Apple/1.jpg", ("Training", "Apple")),
        ("Apple/1.jpg", (None, "Apple")),
        ("1.jpg", (None, None)),
        ("Test/2024/May/Apple/1.jpg", ("Test", "Apple")),
        ("photos/4711/Apple/2024/1.jpg", (None, "Apple")),
        ("photos/1.jpg", (None, None)),
        ("Photos/4711/1.jpg", (None, None)),
        ("PHOTOS /4711/Apple/1.jpg", (None, "Apple")),
        ("archive/photos/4711/1.jpg", (None, None)),
        ("photos\u00a0/4711/1.jpg", (None, None)),
        ("\u200bphotos. /4711/1.jpg", (None, None)),
        ("photos/anna/Anna/1.jpg", (None, None)),
        ("train/Apple/1.jpg", ("Training", "Apple")),
        ("TEST/Apple/1.jpg", ("Test", "Apple")),
        ("valid/Apple/1.jpg", ("Validation", "Apple")),
        ("Test/1.jpg", ("Test", None)),
        ("2024/Apple/1.jpg", (None, "Apple")),
        ("fruits-360/Training/Apple/1.jpg", (None, "Apple")),
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
    images, ledger = tables(spark, tmp_path / "in")
    assert {Path(path).name for path in ledger} == {
        "SOURCES.md",
        "broken_data_stream.png",
        "truncated_image.png",
        "truncated_jpeg.jpg",
    }
    for row in images.values():
        assert b"Exif\0" not in row["content"]
        assert b"http://ns.adobe.com/xap" not in row["content"]
