"""A purge that dies anywhere: what is current stays whole, and a second one completes the work."""

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

OPERATIONS = 40
"""More than a purge of these few files has."""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Two assets, each with a version that was replaced; the files of killed runs lie there."""
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


def holds(tables: Tables, text: str) -> bool:
    files = (path for path in Path(tables.root.path).rglob("*") if path.is_file())
    return any(text.encode() in path.read_bytes() for path in files)


def still_whole(tables: Tables) -> Snapshot:
    assert tables.current(MODEL).data_location.read() == b"m1"
    assert paths_of(tables.current(ASSET)) == ["ben.jpg"]
    return tables.current(ASSET)


@pytest.mark.parametrize("dies_at", range(1, OPERATIONS + 1))
def test_wherever_a_purge_dies_what_is_current_is_whole_and_the_next_one_completes_it(
    tables: Tables, dies_at: int
) -> None:
    assert holds(tables, "anna.jpg")
    with crashing_operations() as operations:
        lived = operations.run(dies_at, lambda: purge(tables, "purge-1"))
        assert lived or dies_at < OPERATIONS
        still_whole(tables)
        tables.vacuum(ASSET)
        purge(tables, "purge-2")
    still_whole(tables)
    assert not holds(tables, "anna.jpg")
    assert not holds(tables, "m0.tflite")


def begun(tables: Tables) -> tuple[TableWrite, Change]:
    """A run that has written its file, and what it is about to commit."""
    write = tables.begin(ASSET, "living")
    file = write_rows(write, "anna.jpg")
    return write, Change(write, statistics_of(["anna.jpg", "ben.jpg"]), (file,))


@pytest.mark.parametrize("dies_at", range(1, OPERATIONS + 1))
def test_wherever_a_purge_dies_no_run_commits_a_file_that_it_has_deleted(
    tables: Tables, dies_at: int
) -> None:
    write, change = begun(tables)
    with crashing_operations() as operations:
        operations.run(dies_at, lambda: purge(tables, "purge-1"))
    is_there = (write.folder / change.add[0].name).exists()
    try:
        committed = change.commit()
    except ConcurrentWriteError:
        still_whole(tables)
    else:
        assert is_there
        assert paths_of(committed) == ["anna.jpg", "ben.jpg"]
