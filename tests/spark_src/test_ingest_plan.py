"""Files are distributed to tasks evenly, and only small data files are merged."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.images import plan as planning
from spark_src.images.ingest import from_stream
from spark_src.images.listing import FILES
from spark_src.images.plan import MAX_BYTES, MAX_ROWS, MIN_ROWS, batches_of
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.statistics import RawImagesStatistics
from tests.pipeline import Ingest, ingest, rows_by_path, table_of, tables_in


def jpeg(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (9, 7), (colour % 256, colour // 256, 99))
    picture.save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "storage")


def files_of(sizes: list[int]) -> pa.Table:
    """Files of a listing with these sizes."""
    columns = {
        "path": [f"{number:07}.jpg" for number in range(len(sizes))],
        "raw_path": [None] * len(sizes),
        "source_bytes": sizes,
        "source_modified": [0] * len(sizes),
        "source_etag": [None] * len(sizes),
    }
    return pa.table(columns, FILES)


def task_sizes(sizes: list[int]) -> list[list[int]]:
    """Sizes of the files of each task. Every file is in one task, in order."""
    files = files_of(sizes)
    batches = list(batches_of(files))
    parts = [from_stream(batch.files) for batch in batches]
    assert pa.concat_tables([files.slice(0, 0), *parts]).equals(files)
    assert len({batch.name for batch in batches}) == len(batches)
    assert [batch.name for batch in batches] == sorted(batch.name for batch in batches)
    return [part["source_bytes"].to_pylist() for part in parts]


@pytest.mark.parametrize("count", [0, 1, MIN_ROWS, MIN_ROWS + 1, 4_000, 40_000])
def test_every_file_is_read_by_one_task_of_a_fair_size(count: int) -> None:
    rows = [len(part) for part in task_sizes([4_000] * count)]
    assert sum(rows) == count
    assert all(MIN_ROWS <= n <= MAX_ROWS for n in rows[:-1])
    assert len(rows) <= max(33, 1 + count / MAX_ROWS)


def test_large_photos_make_tasks_of_fewer_files() -> None:
    parts = task_sizes([5 * 2**20] * 20)
    assert [len(part) for part in parts] == [6, 6, 6, 2]


def test_a_photo_larger_than_a_file_should_be_is_read_alone() -> None:
    assert [len(part) for part in task_sizes([1, 2 * MAX_BYTES, 2 * MAX_BYTES, 1, 1])] == [
        1,
        1,
        1,
        2,
    ]


def refreshed(spark: SparkSession, tables: Tables, source: Path, first: int, last: int) -> Ingest:
    """Refresh after each new picture."""
    for number in range(first, last):
        put(source, f"A/{number:03}.jpg", jpeg(number))
        found = ingest(spark, tables, source)
    return found


def test_many_small_files_are_merged_with_the_next_change(
    spark: SparkSession, source: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MAX_SMALL_FILES", 4)
    many = refreshed(spark, tables, source, 0, 5)
    assert len(many.raw.files) == 5
    assert ingest(spark, tables, source).unchanged
    merged = refreshed(spark, tables, source, 5, 6)
    assert sorted(file.rows for file in merged.raw.files) == [1, 5]
    assert merged.raw.typed(RawImagesStatistics).n_read == 1
    before = rows_by_path(many.raw)
    assert {p: r for p, r in rows_by_path(merged.raw).items() if p in before} == before


def test_a_stale_row_is_removed_when_its_file_is_merged(
    spark: SparkSession, source: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MAX_SMALL_FILES", 2)
    refreshed(spark, tables, source, 0, 3)
    (source / "A" / "001.jpg").unlink()
    found = ingest(spark, tables, source)
    assert [file.rows for file in found.raw.files] == [2]
    assert set(rows_by_path(found.raw)) == {"A/000.jpg", "A/002.jpg"}


def test_files_of_few_large_photos_are_never_merged(
    spark: SparkSession, source: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MAX_SMALL_FILES", 2)
    monkeypatch.setattr(planning, "MAX_BYTES", len(jpeg()))  # of a picture
    first = refreshed(spark, tables, source, 0, 4)
    again = refreshed(spark, tables, source, 4, 6)
    assert {file.name for file in first.raw.files} < {file.name for file in again.raw.files}
    assert [file.rows for file in again.raw.files] == [1] * 6


def test_merged_files_do_not_grow_beyond_their_size(
    spark: SparkSession, source: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MAX_SMALL_FILES", 5)
    monkeypatch.setattr(planning, "MAX_ROWS", 3)
    found = refreshed(spark, tables, source, 0, 7)
    assert sorted(file.rows for file in found.raw.files) == [1, 3, 3]


def content_of(snapshot: Snapshot) -> list[dict[str, object]]:
    return table_of(snapshot).sort_by("path").to_pylist()


def change_something(folder: Path, generator: random.Random) -> None:
    """Add, change or delete some pictures at random."""
    present = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(generator.randrange(4)):
        name = f"{generator.choice('AB')}/{generator.randrange(40)}.jpg"
        put(folder, name, generator.choice([jpeg(generator.randrange(9)), b"text", b""]))
    for file in generator.sample(present, min(len(present), generator.randrange(3))):
        match generator.randrange(4):
            case 0:
                file.unlink(missing_ok=True)
            case 1:
                os.utime(file, ns=(0, generator.randrange(10**18)))
            case 2 if file.exists():
                file.rename(file.with_name(f"moved-{generator.randrange(99)}"))
            case _:
                put(file.parent, ".DS_Store", b"x")


@pytest.mark.parametrize("seed", range(4))
def test_after_any_refreshes_the_tables_are_those_of_a_first_run(
    spark: SparkSession,
    source: Path,
    tables: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(planning, "MIN_ROWS", 3)
    monkeypatch.setattr(planning, "MAX_SMALL_FILES", 3)
    generator = random.Random(seed)  # noqa: S311
    for number in range(12):
        put(source, f"A/first-{number}.jpg", jpeg(number))
    for _ in range(6):
        refreshed_tables = ingest(spark, tables, source)
        change_something(source, generator)
    refreshed_tables = ingest(spark, tables, source)
    fresh = ingest(spark, tables_in(tmp_path / "fresh"), source)
    assert content_of(refreshed_tables.raw) == content_of(fresh.raw)
    assert content_of(refreshed_tables.rejected) == content_of(fresh.rejected)
    assert refreshed_tables.rejected.statistics.digest == fresh.rejected.statistics.digest
    known, expected = (
        found.raw.typed(RawImagesStatistics).model_dump(exclude={"seconds", "measured", "n_read"})
        for found in (refreshed_tables, fresh)
    )
    assert known == expected
