"""Commits of other programs to this project's tables: which are tolerated or rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from spark_src.errors import ConcurrentWriteError, UnreadableVersionError
from spark_src.tables.delta import Tables
from tests.pipeline import tables_in
from tests.small_tables import ASSET, add, commit_rows, paths_of


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    found = tables_in(tmp_path)
    add(found, "run-1", "a/1.jpg")
    add(found, "run-2", "a/2.jpg")
    return found


def foreign(tables: Tables) -> DeltaTable:
    """The table as another program opens it."""
    return DeltaTable(tables.prefix(ASSET).path)


def test_a_compacted_and_vacuumed_table_stays_usable(tables: Tables) -> None:
    version = tables.current(ASSET).version
    foreign(tables).optimize.compact()
    foreign(tables).vacuum(0, dry_run=False, enforce_retention_duration=False)
    compacted = tables.current(ASSET)
    assert (compacted.version, len(compacted.files)) == (version, 1)
    assert paths_of(compacted) == ["a/1.jpg", "a/2.jpg"]
    assert paths_of(add(tables, "run-3", "a/3.jpg")) == ["a/1.jpg", "a/2.jpg", "a/3.jpg"]
    assert len(tables.history(ASSET)) == 3


@pytest.mark.parametrize("removes", [False, True])
def test_a_run_that_began_before_a_compaction_is_refused(tables: Tables, removes: bool) -> None:
    write = tables.begin(ASSET, "run-3")
    assert write.before is not None
    foreign(tables).optimize.compact()
    gone = [file.name for file in write.before.files[:1]] if removes else []
    with pytest.raises(ConcurrentWriteError, match="another program changed the table while run"):
        commit_rows(write, "a/3.jpg", remove=gone)
    assert paths_of(tables.current(ASSET)) == ["a/1.jpg", "a/2.jpg"]
    assert add(tables, "run-4", "a/3.jpg").rows == 3


def test_rows_deleted_by_others_are_detected_and_the_remedy_restores_them(tables: Tables) -> None:
    foreign(tables).delete("path = 'a/2.jpg'")
    with pytest.raises(UnreadableVersionError, match="another program has changed rows") as raised:
        tables.current(ASSET)
    command = str(raised.value).split("`")[1]
    eval(command, {"DeltaTable": DeltaTable})  # noqa: S307 - the remedy in the error
    assert paths_of(tables.current(ASSET)) == ["a/1.jpg", "a/2.jpg"]
    assert add(tables, "run-3", "a/3.jpg").rows == 3


def test_a_column_added_by_others_is_ignored(tables: Tables) -> None:
    foreign(tables).alter.add_columns([Field("remark", PrimitiveType("string"))])
    assert paths_of(add(tables, "run-3", "a/3.jpg")) == ["a/1.jpg", "a/2.jpg", "a/3.jpg"]
