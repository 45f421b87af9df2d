"""A storage that cannot be written: tables are unchanged, and the error names the remedy.

The limit of a file's size stands for a full disk: the system refuses in the same place.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spark_src.errors import StorageError
from spark_src.tables.delta import Tables
from tests.pipeline import tables_in
from tests.small_tables import ASSET, add, statistics_of, write_rows

REMEDY = "Free space on the disk, or give this user the right to write there"


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    found = tables_in(tmp_path)
    add(found, "run-1", "a/1.jpg")
    return found


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of all files that this process writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_on_a_full_disk_the_file_is_named_and_no_part_is_left(
    tables: Tables,
) -> None:
    before = contents(tables.root.path)
    with (
        largest_file(1000),
        pytest.raises(StorageError, match=rf"part-\S+ cannot be written \(File too.*{REMEDY}"),
    ):
        add(tables, "run-2", "a/2.jpg")
    assert contents(tables.root.path) == before


def test_on_a_full_disk_a_failed_commit_leaves_the_previous_version_current(
    tables: Tables,
) -> None:
    before = contents(tables.prefix(ASSET).path + "/_delta_log")
    write = tables.begin(ASSET, "run-2")
    new = write_rows(write, "a/2.jpg")
    with (
        largest_file(100),
        pytest.raises(StorageError, match=rf"raw_images cannot be written \(File too.*{REMEDY}"),
    ):
        write.commit(statistics_of(["a/1.jpg", "a/2.jpg"]), [new])
    log = contents(tables.prefix(ASSET).path + "/_delta_log")
    assert before.items() <= log.items()
    assert tables.current(ASSET).rows == 1
    assert add(tables, "run-3", "a/3.jpg").rows == 2
