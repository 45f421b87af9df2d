"""The CSV file is replaced atomically; a stale file is detected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spark_src.errors import AuditError, ConcurrentWriteError
from spark_src.tables import csv
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.schemas import PCA_COMPONENTS
from spark_src.tables.statistics import CsvStatistics
from tests.pipeline import tables_in
from tests.spark_src.exports import ROWS, Row, change_of, export, store


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A storage with exported components."""
    found = tables_in(tmp_path)
    store(found, ROWS)
    export(found)
    return found


def file_of(tables: Tables) -> Path:
    return Path(tables.prefix("csv_export").path, csv.FILE)


def changed(rows: list[Row]) -> list[Row]:
    """The same images with other numbers of the same size in bytes."""
    return [
        (*keys, [3e9 if number == 2e9 else number for number in numbers]) for *keys, numbers in rows
    ]


def test_a_version_records_the_rows_and_bytes_of_its_file(tables: Tables) -> None:
    known = tables.current("csv_export").typed(CsvStatistics)
    assert known.rows == len(ROWS)
    assert known.file_bytes == file_of(tables).stat().st_size


def test_an_export_of_the_same_components_changes_nothing(tables: Tables) -> None:
    before, file = tables.current("csv_export"), file_of(tables)
    modified = file.stat().st_mtime_ns
    assert export(tables, "later") == before
    assert file.stat().st_mtime_ns == modified


def test_the_previous_file_is_kept_until_the_commit(tables: Tables) -> None:
    old = file_of(tables).read_bytes()
    store(tables, ROWS[:5], "other")
    change = change_of(tables, "later")
    assert file_of(tables).read_bytes() == old
    change.commit()
    assert csv.count_rows(tables.prefix("csv_export") / csv.FILE) == 5


def test_an_open_reader_can_finish_reading_the_previous_file(tables: Tables) -> None:
    old = file_of(tables).read_bytes()
    with file_of(tables).open("rb") as stream:
        start = stream.read(100)
        store(tables, ROWS[:5], "other")
        export(tables, "later")
        assert start + stream.read() == old


def test_staged_files_are_deleted(tables: Tables) -> None:
    store(tables, ROWS[:9], "other")
    change_of(tables, "killed before its commit")
    export(tables, "later")
    assert not (tables.prefix("csv_export") / csv.STAGED).exists()


def test_a_run_whose_commit_is_rejected_does_not_replace_the_file(tables: Tables) -> None:
    store(tables, ROWS[:5], "other")
    slow = change_of(tables, "slow")
    export(tables, "quick")
    content = file_of(tables).read_bytes()
    with pytest.raises(ConcurrentWriteError, match="run quick committed"):
        slow.commit()
    assert file_of(tables).read_bytes() == content


def test_an_export_with_missing_rows_is_rejected_and_the_previous_file_kept(tables: Tables) -> None:
    before, content = tables.current("csv_export"), file_of(tables).read_bytes()
    components = store(tables, ROWS[:8], "other")
    pq.write_table(PCA_COMPONENTS.empty_table(), components.locations[0].path)
    with pytest.raises(AuditError, match="6 rows were written for 8 images"):
        export(tables, "later")
    assert tables.current("csv_export") == before
    assert file_of(tables).read_bytes() == content


def delete(file: Path) -> None:
    file.unlink()


def lose_a_line(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))


def change_a_number(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content.replace(b"2000000000", b"22500000000", 1))


@pytest.mark.parametrize("harm", [delete, lose_a_line, change_a_number])
def test_a_changed_or_missing_file_is_written_again(
    tables: Tables, harm: Callable[[Path], None]
) -> None:
    whole = file_of(tables).read_bytes()
    harm(file_of(tables))
    assert not file_of(tables).exists() or file_of(tables).read_bytes() != whole
    export(tables, "later")
    assert file_of(tables).read_bytes() == whole


def test_after_a_kill_between_commit_and_replacement_the_file_is_written_again(
    tables: Tables,
) -> None:
    """Even if the previous file has the same number of rows and bytes."""
    store(tables, changed(ROWS), "other")
    change = change_of(tables, "killed")
    stale = file_of(tables).read_bytes()
    Change(change.write, change.statistics).commit()  # and never replaces the file
    assert file_of(tables).read_bytes() == stale
    known = tables.current("csv_export").typed(CsvStatistics)
    assert (known.rows, known.file_bytes) == (len(ROWS), len(stale))
    export(tables, "later")
    assert b"3000000000" in file_of(tables).read_bytes()
    assert b"2000000000" not in file_of(tables).read_bytes()
