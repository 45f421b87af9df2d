"""Vacuum deletes only files that no recent version and no active run needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from spark_src.tables.change import VACUUM_INTERVAL, Change
from spark_src.tables.delta import DataFile, Snapshot, Tables
from spark_src.tables.parquet import write_file
from spark_src.tables.schemas import RAW_IMAGES
from tests.pipeline import tables_in
from tests.small_tables import (
    ASSET,
    add,
    commit_rows,
    paths_of,
    picture_rows,
    statistics_of,
    write_rows,
)

DAY = 24 * 60 * 60


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "data")


def age(folder: Path, days: float) -> None:
    """Set the modification time of every file to the given number of days ago."""
    then = time.time() - days * DAY
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def replaced(tables: Tables, monkeypatch: pytest.MonkeyPatch, days: float) -> list[Snapshot]:
    """Four versions with one file each, replacing the previous one; written some time ago."""
    versions: list[Snapshot] = []
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now - days * DAY)
        for number in range(4):
            gone = [file.name for file in versions[-1].files] if versions else []
            versions.append(add(tables, f"run-{number}", f"{number}.jpg", remove=gone))
    age(Path(tables.root.path), days)
    return versions


def readable(version: Snapshot) -> bool:
    return all(location.exists() for location in version.locations)


def test_after_a_week_the_files_of_the_last_two_versions_are_kept(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = replaced(tables, monkeypatch, days=8)
    tables.vacuum(ASSET)
    assert [readable(version) for version in versions] == [False, False, True, True]
    assert paths_of(versions[2]) == ["2.jpg"]
    assert tables.current(ASSET) == versions[3]


def test_within_a_week_every_version_is_kept(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = replaced(tables, monkeypatch, days=6)
    tables.vacuum(ASSET)
    assert all(readable(version) for version in versions)


def test_versions_added_by_vacuum_do_not_count(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = replaced(tables, monkeypatch, days=8)
    for _ in range(3):
        tables.vacuum(ASSET)
    assert [readable(version) for version in versions] == [False, False, True, True]
    assert [commit.version for commit in tables.history(ASSET)] == [3, 2, 1, 0]
    assert tables.current(ASSET) == versions[3]
    assert add(tables, "run-4", "4.jpg").rows == 2


def test_a_vacuum_works_after_the_history_was_dropped(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = replaced(tables, monkeypatch, days=8)
    tables.vacuum(ASSET)  # adds two Delta commits, after which the checkpoint is written
    tables.drop_history(ASSET)
    add(tables, "run-4", "4.jpg", remove=[versions[3].files[0].name])
    tables.vacuum(ASSET)
    assert paths_of(versions[3]) == ["3.jpg"]
    assert paths_of(tables.current(ASSET)) == ["4.jpg"]


def test_uncommitted_files_are_kept_for_a_week(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    dead, living = (write_rows(tables.begin(ASSET, "run-1"), f"{n}.jpg") for n in range(2))
    folder = tables.prefix(ASSET)
    age(Path(folder.path), days=8)
    os.utime((folder / living.name).path)
    tables.vacuum(ASSET)
    assert not (folder / dead.name).exists()
    assert (folder / living.name).exists()


@pytest.mark.parametrize("name", ["part-0-abc.parquet", ".part-0-abc.parquet.1f", "a/.b.parquet"])
def test_a_half_written_file_is_deleted_after_a_week(tables: Tables, name: str) -> None:
    add(tables, "run-0", "old.jpg")
    half = Path(tables.prefix(ASSET).path, name)
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"PAR1 half")
    tables.vacuum(ASSET)
    assert half.exists()
    age(Path(tables.prefix(ASSET).path), days=8)
    tables.vacuum(ASSET)
    assert not half.exists()
    assert paths_of(tables.current(ASSET)) == ["old.jpg"]


def test_files_in_a_staged_folder_are_kept(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-0")
    names = ("_staged/run-0/one.parquet", "_staged/run-0/two.parquet")
    files = [write_file([picture_rows(["a.jpg"])], write.folder, n, RAW_IMAGES) for n in names]
    staged = DataFile(names[0], files[0].bytes, files[0].rows)
    version = write.commit(statistics_of(["a.jpg"]), [staged])
    age(Path(write.folder.path), days=8)
    tables.vacuum(ASSET)
    assert paths_of(version) == ["a.jpg"]
    assert (write.folder / names[1]).exists()


def test_files_of_assets_that_are_not_tables_are_kept(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tables.prefix("mobilenet_model") / "model.tflite"
    model.parent.make_folder()
    model.write(b"weights")
    replaced(tables, monkeypatch, days=8)
    age(Path(tables.root.path), days=100)
    for asset in (ASSET, "mobilenet_model"):
        tables.vacuum(asset)
    assert model.read() == b"weights"


def test_a_version_is_complete_after_a_second_vacuum(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = replaced(tables, monkeypatch, days=8)
    (versions[0].locations[0]).filesystem.delete_file(versions[0].locations[0].path)
    tables.vacuum(ASSET)
    assert readable(versions[3])


def test_every_tenth_commit_runs_a_vacuum(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = replaced(tables, monkeypatch, days=8)
    while tables.current(ASSET).version < VACUUM_INTERVAL:
        assert readable(versions[0])
        write = tables.begin(ASSET, "run")
        paths = paths_of(versions[3])
        Change(write, statistics_of(paths)).commit()
    assert not readable(versions[0])
    assert readable(versions[3])


def test_a_missing_table_is_not_created(tables: Tables, tmp_path: Path) -> None:
    tables.vacuum(ASSET)
    assert list(tmp_path.iterdir()) == []


def test_a_run_can_commit_its_files_after_a_concurrent_vacuum(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    write = tables.begin(ASSET, "run-1")
    file = write_rows(write, "new.jpg")
    tables.vacuum(ASSET)
    write.commit(statistics_of(["new.jpg", "old.jpg"]), [file])
    tables.vacuum(ASSET)
    assert paths_of(tables.current(ASSET)) == ["new.jpg", "old.jpg"]
    commit_rows(tables.begin(ASSET, "run-2"), "newer.jpg")
    assert DeltaTable(tables.prefix(ASSET).path).to_pyarrow_table().num_rows == 3
