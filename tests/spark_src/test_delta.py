"""Versions of tables: the current one, the effect of commits, and rejected commits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from spark_src.contract import PREFIXES
from spark_src.errors import (
    ConcurrentWriteError,
    NothingStoredError,
    StorageError,
    UnreadableVersionError,
)
from spark_src.tables import delta
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import FeaturesStatistics, RawImagesStatistics
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

WRITER = """
import sys
from pathlib import Path
from spark_src.errors import ConcurrentWriteError
from tests.pipeline import tables_in
from tests.small_tables import ASSET, statistics_of, write_rows

write = tables_in(Path(sys.argv[1])).begin(ASSET, "other-run")
file = write_rows(write, "other.jpg")
print(file.name, flush=True)
sys.stdin.readline()
try:
    write.commit(statistics_of(["other.jpg"]), [file])
    print("committed", flush=True)
except ConcurrentWriteError:
    print("refused", flush=True)
"""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "data")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def other_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has written a file without a commit, and the file's name."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_uncommitted_files_are_in_no_version(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-1")
    file = write_rows(write, "a.jpg")
    assert tables.find(ASSET) is None
    committed = write.commit(statistics_of(["a.jpg"]), [file])
    assert tables.current(ASSET) == committed
    assert paths_of(committed) == ["a.jpg"]


def test_a_version_records_its_run_inputs_and_size(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-1")
    file = write_rows(write, "a.jpg", "b.jpg")
    write.commit(statistics_of(["a.jpg", "b.jpg"]), [file], note="first", code_version="1.2")
    version = tables.current(ASSET)
    record = version.record
    assert (record.run_id, record.note, record.code_version) == ("run-1", "first", "1.2")
    assert (version.rows, version.bytes, version.files) == (2, file.bytes, (file,))
    assert version.typed(RawImagesStatistics) == statistics_of(["a.jpg", "b.jpg"])
    with pytest.raises(TypeError, match="raw_images has RawImagesStatistics"):
        version.typed(FeaturesStatistics)


def test_a_commit_adds_files_to_the_existing_ones(tables: Tables) -> None:
    first = add(tables, "run-1", "a.jpg")
    second = add(tables, "run-2", "b.jpg")
    assert set(first.files) < set(second.files)
    assert paths_of(second) == ["a.jpg", "b.jpg"]
    assert set(second.added) == set(second.files) - set(first.files)


def test_rows_are_changed_by_replacing_files(tables: Tables) -> None:
    before = add(tables, "run-1", "a.jpg", "b.jpg")
    after = add(tables, "run-2", "b.jpg", "c.jpg", remove=[before.files[0].name])
    assert paths_of(after) == ["b.jpg", "c.jpg"]
    record = after.record
    assert (record.rows_added, record.rows_removed, after.rows) == (2, 2, 2)
    assert (record.files_added, record.files_removed, len(after.files)) == (1, 1, 1)


def test_a_table_can_lose_its_last_row(tables: Tables) -> None:
    before = add(tables, "run-1", "a.jpg")
    after = add(tables, "run-2", remove=[before.files[0].name])
    assert (after.rows, after.files, after.added) == (0, (), ())
    assert paths_of(add(tables, "run-3", "b.jpg")) == ["b.jpg"]


def test_a_table_can_be_created_without_rows(tables: Tables) -> None:
    assert add(tables, "run-1").rows == 0
    assert paths_of(add(tables, "run-2", "a.jpg")) == ["a.jpg"]


def test_an_empty_commit_creates_a_version_with_the_same_files(tables: Tables) -> None:
    before = add(tables, "run-1", "a.jpg")
    marker = add(tables, "run-2")
    assert (marker.files, marker.version) == (before.files, before.version + 1)
    assert marker.added == ()
    assert marker.record.run_id == "run-2"


def test_a_reader_that_has_the_previous_version_can_go_on_reading(tables: Tables) -> None:
    old = add(tables, "run-1", "old.jpg")
    add(tables, "run-2", "new.jpg", remove=[old.files[0].name])
    assert paths_of(old) == ["old.jpg"]


def test_a_run_without_a_commit_leaves_log_and_files_unchanged(
    tables: Tables, tmp_path: Path
) -> None:
    old, before = add(tables, "run-1", "a.jpg"), contents(tmp_path)
    write_rows(tables.begin(ASSET, "run-2"), "b.jpg")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert tables.current(ASSET) == old


def test_an_empty_change_creates_no_commit(tables: Tables, tmp_path: Path) -> None:
    old, before = add(tables, "run-1", "a.jpg"), contents(tmp_path)
    assert Change.none(tables.begin(ASSET, "run-2")).commit() == old
    assert contents(tmp_path) == before


def test_the_history_lists_every_commit_the_latest_first(tables: Tables) -> None:
    versions = [add(tables, f"run-{number}", f"{number}.jpg") for number in range(20)]
    history = tables.history(ASSET)
    assert [commit.version for commit in history] == list(range(19, -1, -1))
    assert [commit.record for commit in history] == [v.record for v in reversed(versions)]
    times = [commit.committed_at for commit in history]
    assert times == sorted(times, reverse=True)


def test_each_commit_has_the_next_number_of_the_application(tables: Tables) -> None:
    for number in range(1, 5):
        table = DeltaTable(tables.prefix(add(tables, "run-1", f"{number}.jpg").asset).path)
        assert table.transaction_version("fruits") == number


def test_the_second_of_two_concurrent_appends_is_rejected(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    first, second = tables.begin(ASSET, "run-1"), tables.begin(ASSET, "run-2")
    winner = commit_rows(first, "first.jpg")
    with pytest.raises(ConcurrentWriteError, match="run run-1 committed version 1 while"):
        commit_rows(second, "second.jpg")
    assert tables.current(ASSET) == winner


def test_the_second_of_two_concurrent_table_creations_is_rejected(tables: Tables) -> None:
    first, second = tables.begin(ASSET, "run-1"), tables.begin(ASSET, "run-2")
    winner = commit_rows(first, "first.jpg")
    with pytest.raises(ConcurrentWriteError, match="run run-1 committed version 0"):
        commit_rows(second, "second.jpg")
    assert tables.current(ASSET) == winner


def test_after_an_empty_commit_earlier_changes_are_rejected(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    write = tables.begin(ASSET, "run-1")
    marker = add(tables, "erasure")
    with pytest.raises(ConcurrentWriteError, match="run erasure committed"):
        commit_rows(write, "new.jpg")
    assert tables.current(ASSET) == marker


def test_a_change_cannot_be_committed_twice(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-1")
    first = commit_rows(write, "first.jpg")
    with pytest.raises(ConcurrentWriteError):
        commit_rows(write, "second.jpg")
    assert tables.current(ASSET) == first


def test_a_vacuum_does_not_cause_a_conflict(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    write = tables.begin(ASSET, "run-1")
    tables.vacuum(ASSET)
    assert paths_of(commit_rows(write, "new.jpg")) == ["new.jpg", "old.jpg"]


def test_a_change_with_outdated_inputs_is_rejected(tables: Tables) -> None:
    raw = add(tables, "run-1", "a.jpg")
    assert tables.begin("mobilenet_features", "run-1", [raw]).inputs == {ASSET: raw.version}
    add(tables, "run-2", "b.jpg")
    with pytest.raises(ConcurrentWriteError, match="raw_images was changed since run run-1"):
        tables.begin("mobilenet_features", "run-1", [raw])


def test_files_of_a_killed_process_are_never_part_of_the_table(
    tables: Tables, tmp_path: Path
) -> None:
    with other_process(tmp_path / "data") as (process, name):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tables.prefix(ASSET) / name).exists()
    assert tables.find(ASSET) is None
    assert paths_of(add(tables, "run-2", "mine.jpg")) == ["mine.jpg"]


@pytest.mark.parametrize("theirs_first", [True, False])
def test_the_second_of_two_processes_to_commit_is_rejected(
    tables: Tables, tmp_path: Path, theirs_first: bool
) -> None:
    with other_process(tmp_path / "data") as (process, _):
        ours = tables.begin(ASSET, "run-1")
        if theirs_first:
            assert process.communicate("\n", timeout=60)[0] == "committed\n"
            with pytest.raises(ConcurrentWriteError, match="other-run"):
                commit_rows(ours, "ours.jpg")
        else:
            commit_rows(ours, "ours.jpg")
            assert process.communicate("\n", timeout=60)[0] == "refused\n"
    assert paths_of(tables.current(ASSET)) == ["other.jpg" if theirs_first else "ours.jpg"]


def test_reading_an_unmaterialized_asset_names_asset_folder_and_command(tables: Tables) -> None:
    with pytest.raises(NothingStoredError) as caught:
        tables.current(ASSET)
    assert str(caught.value).startswith("raw_images ")
    assert str(tables.prefix(ASSET)) in str(caught.value)
    assert "uv run dagster asset materialize --select '*raw_images'" in str(caught.value)


def test_storage_of_the_first_edition_is_refused_with_the_remedy(
    tables: Tables, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / PREFIXES[ASSET]
    (folder / "versions" / "20240101T000000Z").mkdir(parents=True)
    (folder / "current.json").write_text('{"format": 1, "current": {}}')
    for read in (tables.find, tables.current, lambda asset: tables.begin(asset, "run-1")):
        with pytest.raises(UnreadableVersionError, match=r"first edition.*Set FRUITS_STORAGE"):
            read(ASSET)


def test_a_delta_table_of_another_program_is_rejected(tables: Tables) -> None:
    write_deltalake(tables.prefix(ASSET).path, picture_rows(["a.jpg"]))
    for read in (tables.find, tables.current, lambda asset: tables.begin(asset, "run-1")):
        with pytest.raises(UnreadableVersionError, match="has no commit of this project"):
            read(ASSET)


def test_an_unknown_asset_is_refused_with_the_known_ones(tables: Tables) -> None:
    with pytest.raises(StorageError, match=r"no asset 'raw_image'; did you mean raw_images\?"):
        tables.begin("raw_image", "run-1")


def test_assets_are_independent(tables: Tables) -> None:
    add(tables, "run-1", "a.jpg")
    for asset in set(PREFIXES) - {ASSET}:
        assert tables.find(asset) is None


@pytest.mark.parametrize("hours", [-20, 20])
def test_a_wrong_clock_on_one_machine_does_not_affect_others(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    first = add(tables, "run-1", "a.jpg")
    now = delta.time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: now + hours * 3600)
        theirs = add(tables, "run-2", "b.jpg")
    assert set(theirs.added) == set(theirs.files) - set(first.files)
    ours = add(tables, "run-3", "c.jpg")
    assert set(ours.added) == set(ours.files) - set(theirs.files)
    assert paths_of(ours) == ["a.jpg", "b.jpg", "c.jpg"]
    tables.vacuum(ASSET)
    assert paths_of(theirs) == ["a.jpg", "b.jpg"]
