"""A refresh does not read unchanged files, and writes only changed data files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.errors import AuditError
from spark_src.images import plan as planning
from spark_src.images.listing import Listing, list_files
from spark_src.images.plan import plan_ingest
from spark_src.images.refresh import (
    IngestResult,
    raw_change,
    read_new,
)
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import Ingest, ingest, rows_by_path, table_of, tables_in

Refresh = Callable[..., Ingest]


def jpeg(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (9, 7), (colour % 256, colour // 256, 99))
    picture.save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty pictures in two folders."""
    folder = tmp_path / "in"
    for number in range(20):
        put(folder, f"{'AB'[number // 10]}/{number:02}.jpg", jpeg(number))
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "storage")


@pytest.fixture
def refresh(
    spark: SparkSession, source: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> Refresh:
    """Ingest the folder with four pictures per file."""
    monkeypatch.setattr(planning, "MIN_ROWS", 4)
    return lambda limits=None: ingest(spark, tables, source, limits)


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def statistics_of(snapshot: Snapshot) -> RawImagesStatistics:
    return snapshot.typed(RawImagesStatistics)


def files_under(tables: Tables) -> dict[str, tuple[int, bytes]]:
    """Modification time and content of every file in the storage, including the log."""
    files = [path for path in Path(tables.root.path).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def names_of(snapshot: Snapshot) -> set[str]:
    return {file.name for file in snapshot.files}


def listing_of(source: Path) -> Listing:
    return list_files(Location.parse(str(source)))


def fails(*_: object) -> Any:
    raise AssertionError("Spark was started")


def test_unchanged_input_reads_nothing_writes_nothing_and_starts_no_spark(
    refresh: Refresh, source: Path, tables: Tables
) -> None:
    put(source, "A/notes.txt", b"text")
    put(source, "A/.DS_Store", b"x")
    first = refresh()
    before = files_under(tables)
    write = tables.begin("raw_images", "run-2")
    plan = plan_ingest(listing_of(source), Limits(), first.raw, first.rejected)
    assert read_new(fails, plan, write, fails) == IngestResult()
    again = refresh()
    assert again.unchanged
    assert again.plan.to_read.num_rows == 0
    assert again.raw.version == first.raw.version
    assert files_under(tables) == before


def test_only_new_pictures_are_read_and_written_to_new_files(
    refresh: Refresh, source: Path, tables: Tables
) -> None:
    first = refresh()
    before = files_under(tables)
    put(source, "A/new.jpg", jpeg(100))
    put(source, "C/new.jpg", jpeg(101))
    again = refresh()
    assert statistics_of(again.raw).n_read == 2
    assert names_of(first.raw) < names_of(again.raw)
    assert len(again.raw.files) == len(first.raw.files) + 1
    assert (again.raw.record.rows_added, again.raw.record.rows_removed) == (2, 0)
    assert before.items() <= files_under(tables).items()
    assert set(rows_by_path(again.raw)) == {*rows_by_path(first.raw), "A/new.jpg", "C/new.jpg"}


def test_a_picture_changed_in_place_is_read_again_though_its_size_is_the_same(
    refresh: Refresh, source: Path
) -> None:
    first = refresh()
    size, same_size = len(jpeg(1)), next(n for n in range(50, 250) if len(jpeg(n)) == len(jpeg(1)))
    put(source, "A/01.jpg", jpeg(same_size))
    os.utime(source / "A/01.jpg", ns=(0, 1_700_000_000_000_000_000))
    again = refresh()
    rows, before = rows_by_path(again.raw), rows_by_path(first.raw)
    assert statistics_of(again.raw).n_read == 1
    assert rows["A/01.jpg"]["source_bytes"] == size
    assert rows["A/01.jpg"]["image_id"] != before["A/01.jpg"]["image_id"]
    assert {p: r for p, r in rows.items() if p != "A/01.jpg"} == {
        p: r for p, r in before.items() if p != "A/01.jpg"
    }


def test_only_the_file_that_holds_a_stale_row_is_rewritten(
    refresh: Refresh, source: Path, tables: Tables
) -> None:
    first = refresh()
    before = files_under(tables)
    put(source, "A/01.jpg", jpeg(200))
    again = refresh()
    assert len(first.raw.files) == 5
    assert len(names_of(first.raw) - names_of(again.raw)) == 1
    assert before.items() <= files_under(tables).items()
    rewritten, new = (
        file for file in again.raw.files if file.name in names_of(again.raw) - names_of(first.raw)
    )
    assert {rewritten.rows, new.rows} == {3, 1}


def test_a_file_with_a_changed_etag_is_read_again(
    spark: SparkSession, source: Path, tables: Tables
) -> None:
    def listing(*changed: str) -> Listing:
        files = listing_of(source).files
        etags = ["2" if path in changed else "1" for path in files["path"].to_pylist()]
        column = files.schema.get_field_index("source_etag")
        files = files.set_column(column, "source_etag", pa.array(etags))
        return Listing(Location.parse(str(source)), files, listing_of(source).refused)

    ingest(spark, tables, listing())
    assert ingest(spark, tables, listing()).unchanged
    again = ingest(spark, tables, listing("B/13.jpg"))
    assert again.plan.to_read["path"].to_pylist() == ["B/13.jpg"]
    assert rows_by_path(again.raw)["B/13.jpg"]["source_etag"] == "2"


def test_deleted_pictures_lose_their_rows_and_nothing_is_read(
    refresh: Refresh, source: Path, tables: Tables
) -> None:
    first = refresh()
    before = files_under(tables)
    deleted = ["A/04.jpg", "A/05.jpg", "A/06.jpg", "A/07.jpg", "B/10.jpg"]
    for name in deleted:
        (source / name).unlink()
    again = refresh()
    assert statistics_of(again.raw).n_read == 0
    assert set(rows_by_path(again.raw)) == set(rows_by_path(first.raw)) - set(deleted)
    assert len(names_of(first.raw) - names_of(again.raw)) == 2
    assert [f.rows for f in again.raw.files if f.name not in names_of(first.raw)] == [3]
    assert before.items() <= files_under(tables).items()


def test_a_moved_picture_is_read_once_and_has_one_row(refresh: Refresh, source: Path) -> None:
    refresh()
    (source / "A" / "01.jpg").rename(source / "B" / "moved.jpg")
    again = refresh()
    assert again.plan.to_read["path"].to_pylist() == ["B/moved.jpg"]
    assert again.raw.rows == 20
    assert statistics_of(again.raw).labels == {"A": 9, "B": 11}


def test_other_limits_read_every_file_again(refresh: Refresh, source: Path) -> None:
    put(source, "A/notes.txt", b"text")
    first = refresh()
    limits = Limits(max_pixels=62)
    again = refresh(limits)
    assert statistics_of(again.raw).n_read == 21
    assert again.raw.rows == 0 and again.rejected.rows == 21
    back = refresh()
    assert statistics_of(back.raw).n_read == 21
    assert table_of(back.raw).equals(table_of(first.raw))


def test_another_input_is_read_completely_and_replaces_the_previous_one(
    refresh: Refresh, source: Path, spark: SparkSession, tables: Tables
) -> None:
    first = refresh()
    shutil.copytree(source, source.with_name("copy"))
    (source.with_name("copy") / "A" / "00.jpg").unlink()
    again = ingest(spark, tables, source.with_name("copy"))
    assert statistics_of(again.raw).n_read == 19
    assert not names_of(first.raw) & names_of(again.raw)
    assert set(rows_by_path(again.raw)) == set(rows_by_path(first.raw)) - {"A/00.jpg"}


def test_a_run_that_ends_before_its_commit_leaves_the_tables_unchanged(
    refresh: Refresh, spark: SparkSession, source: Path, tables: Tables
) -> None:
    first = refresh()
    committed = files_under(tables)
    put(source, "A/new.jpg", jpeg(100))
    (source / "B" / "10.jpg").unlink()
    write = tables.begin("raw_images", "killed-run")
    plan = plan_ingest(listing_of(source), Limits(), first.raw, first.rejected)
    counter = spark.sparkContext.accumulator(0)
    read_new(lambda: spark, plan, write, lambda: counter)
    assert counter.value == 1
    assert committed.items() < files_under(tables).items()
    assert tables.current("raw_images") == first.raw
    assert set(rows_by_path(refresh().raw)) == {*rows_by_path(first.raw), "A/new.jpg"} - {
        "B/10.jpg"
    }


def test_files_that_are_not_accounted_for_prevent_the_commit(
    refresh: Refresh, spark: SparkSession, source: Path, tables: Tables
) -> None:
    first = refresh()
    put(source, "A/new.jpg", jpeg(100))
    write = tables.begin("raw_images", "run-2")
    plan = plan_ingest(listing_of(source), Limits(), first.raw, first.rejected)
    counter = spark.sparkContext.accumulator(0)
    found = read_new(lambda: spark, plan, write, lambda: counter)
    with pytest.raises(AuditError, match="21 files were listed, but 20 are accounted for"):
        raw_change(plan, replace(found, ingested=()), write, 0, 0.0)
    assert tables.current("raw_images") == first.raw
