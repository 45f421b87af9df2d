"""A purge interrupted at any operation keeps current versions, and the next purge completes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_src.erasure.purge import purge
from spark_src.errors import ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables, TableWrite
from tests.small_tables import ASSET, add, paths_of, statistics_of, write_rows
from tests.state_machine.crashes import crashing_operations
from tests.state_machine.world import MODEL, plan_model

pytestmark = pytest.mark.state_machine

OPERATIONS = 40
"""More than the number of operations of one purge."""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Two assets with a replaced version each, and files of killed runs."""
    tables = Tables(Location.parse(str(tmp_path / "data")))
    old = add(tables, "run-1", "anna.jpg", "ben.jpg")
    add(tables, "run-2", "ben.jpg", remove=[old.files[0].name])
    for digest in ("m0", "m1"):
        make_model(tables, digest)
    write_rows(tables.begin(ASSET, "killed"), "anna.jpg")
    return tables


def make_model(tables: Tables, digest: str) -> None:
    writer = plan_model(tables.begin(MODEL, f"run-{digest}"), digest)
    writer.write_files()
    writer.change().commit()


def contains(tables: Tables, text: str) -> bool:
    files = (path for path in Path(tables.root.path).rglob("*") if path.is_file())
    return any(text.encode() in path.read_bytes() for path in files)


def assert_current(tables: Tables) -> Snapshot:
    assert tables.current(MODEL).data_location.read() == b"m1"
    assert paths_of(tables.current(ASSET)) == ["ben.jpg"]
    return tables.current(ASSET)


@pytest.mark.parametrize("crash_at", range(1, OPERATIONS + 1))
def test_an_interrupted_purge_keeps_current_versions_and_is_completed_by_the_next(
    tables: Tables, crash_at: int
) -> None:
    assert contains(tables, "anna.jpg")
    with crashing_operations() as operations:
        completed = operations.run(crash_at, lambda: purge(tables, "purge-1"))
        assert completed or crash_at < OPERATIONS
        assert_current(tables)
        tables.vacuum(ASSET)
        purge(tables, "purge-2")
    assert_current(tables)
    assert not contains(tables, "anna.jpg")
    assert not contains(tables, "m0.tflite")


def uncommitted_run(tables: Tables) -> tuple[TableWrite, Change]:
    """A run that has written its file but not committed it."""
    write = tables.begin(ASSET, "concurrent")
    file = write_rows(write, "anna.jpg")
    return write, Change(write, statistics_of(["anna.jpg", "ben.jpg"]), (file,))


@pytest.mark.parametrize("crash_at", range(1, OPERATIONS + 1))
def test_after_an_interrupted_purge_no_run_commits_a_deleted_file(
    tables: Tables, crash_at: int
) -> None:
    write, change = uncommitted_run(tables)
    with crashing_operations() as operations:
        operations.run(crash_at, lambda: purge(tables, "purge-1"))
    file_exists = (write.folder / change.add[0].name).exists()
    try:
        committed = change.commit()
    except ConcurrentWriteError:
        assert_current(tables)
    else:
        assert file_exists
        assert paths_of(committed) == ["anna.jpg", "ben.jpg"]
