"""Rejected files are read again if they changed, or if the reason was transient."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.images.ingest import ingester
from spark_src.images.listing import Listing, list_files
from spark_src.images.plan import batches_of, plan_ingest
from spark_src.images.refresh import (
    IngestResult,
    raw_change,
    rejected_change,
    rejected_table,
)
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import ingest, rows_by_path, tables_in
from tests.unprivileged import unprivileged


def jpeg(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (colour, 0, 99)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty pictures."""
    for number in range(20):
        put(tmp_path / "in", f"A/{number:02}.jpg", jpeg(number))
    return tmp_path / "in"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "storage")


def listing_of(source: Path) -> Listing:
    return list_files(Location.parse(str(source)))


def files_under(tables: Tables) -> dict[str, tuple[int, bytes]]:
    """Modification time and content of every file in the storage, including the log."""
    files = [path for path in Path(tables.root.path).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_rejected_files_are_not_read_again_until_they_change(
    spark: SparkSession, source: Path, tables: Tables
) -> None:
    for name in ("A/x.jpg", "A/y.jpg", "A/z.jpg"):
        put(source, name, b"text")
    assert ingest(spark, tables, source).rejected.rows == 3
    (source / "A" / "z.jpg").unlink()
    put(source, "A/y.jpg", jpeg(50))
    put(source, "A/00.jpg", b"no picture any more")
    again = ingest(spark, tables, source)
    assert again.plan.to_read["path"].to_pylist() == ["A/00.jpg", "A/y.jpg"]
    assert set(rows_by_path(again.rejected)) == {"A/x.jpg", "A/00.jpg"}
    images = set(rows_by_path(again.raw))
    assert "A/y.jpg" in images and "A/00.jpg" not in images


def test_a_file_that_vanishes_is_rejected_and_then_removed(
    spark: SparkSession, source: Path, tables: Tables
) -> None:
    listing = listing_of(source)
    (source / "A" / "03.jpg").unlink()
    found = ingest(spark, tables, listing)
    assert rows_by_path(found.rejected)["A/03.jpg"]["reason"] == "vanished"
    assert (found.raw.rows, found.rejected.rows) == (19, 1)
    assert found.raw.typed(RawImagesStatistics).n_listed == 20
    again = ingest(spark, tables, source)
    assert (again.raw.rows, again.rejected.rows) == (19, 0)
    assert again.raw.typed(RawImagesStatistics).n_listed == 19


def ingest_unprivileged(tables: Tables, source: Path) -> list[Change]:
    """Ingest without Spark, whose workers may run as root in tests."""
    with unprivileged():
        rejected, raw = (tables.begin(name, "run-1") for name in ("rejected_images", "raw_images"))
        plan = plan_ingest(listing_of(source), Limits(), raw.before, rejected.before)
        work = ingester(plan.listing.root, raw.folder, Limits())
        result = IngestResult(tuple(work(batches_of(plan.to_read))))
        rows = rejected_table(plan, result)
        changes = [
            rejected_change(plan, rejected, rows, 0.0),
            raw_change(plan, result, raw, rows.num_rows, 0.0),
        ]
        for change in changes:
            change.commit()
    return changes


def test_an_unreadable_file_is_tried_again_and_commits_nothing_while_it_stays_so(
    public_folder: Path,
) -> None:
    source, tables = public_folder / "in", tables_in(public_folder / "storage")
    for name in ("1.jpg", "2.jpg"):
        put(source, name, jpeg(1))
    (source / "1.jpg").chmod(0o000)
    ingest_unprivileged(tables, source)
    assert rows_by_path(tables.current("rejected_images"))["1.jpg"]["reason"] == "unreadable"
    assert set(rows_by_path(tables.current("raw_images"))) == {"2.jpg"}
    before = files_under(tables)
    assert all(change.is_empty for change in ingest_unprivileged(tables, source))
    assert files_under(tables) == before
    (source / "1.jpg").chmod(0o644)
    ingest_unprivileged(tables, source)
    assert set(rows_by_path(tables.current("raw_images"))) == {"1.jpg", "2.jpg"}
    assert tables.current("rejected_images").rows == 0


def test_a_link_stays_rejected_without_a_commit_until_it_is_removed(
    spark: SparkSession, source: Path, tables: Tables
) -> None:
    (source / "link.jpg").symlink_to(source / "A" / "00.jpg")
    first = ingest(spark, tables, source)
    assert rows_by_path(first.rejected)["link.jpg"]["reason"] == "link"
    assert ingest(spark, tables, source).unchanged
    (source / "link.jpg").unlink()
    assert ingest(spark, tables, source).rejected.rows == 0


def test_an_input_of_rejected_files_only_writes_no_empty_file(
    spark: SparkSession, source: Path, tables: Tables
) -> None:
    ingest(spark, tables, source)
    folder = Path(tables.prefix("raw_images").path)
    before = set(folder.glob("*.parquet"))
    put(source, "A/notes.txt", b"text")
    again = ingest(spark, tables, source)
    assert again.raw.typed(RawImagesStatistics).rejected == 1
    assert set(folder.glob("*.parquet")) == before
