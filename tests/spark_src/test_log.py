"""The log of a table: its content, and the errors for damaged logs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spark_src.errors import ConcurrentWriteError, UnreadableVersionError
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.delta import Tables
from spark_src.tables.log import FORMAT, KEY
from spark_src.tables.parquet import read_columns
from spark_src.tables.statistics import CsvStatistics
from tests.pipeline import ingest, tables_in
from tests.small_tables import ASSET, add, commit_rows, digest_of, paths_of

PEOPLE = [f"photos/anna-{number}/holiday/dog {number}.jpg" for number in range(6)]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path / "data")


@pytest.fixture
def four_commits(tables: Tables) -> Path:
    """The log of a table with four commits."""
    for number in range(4):
        add(tables, f"run-{number}", f"{number}.jpg")
    return Path(tables.prefix(ASSET).path, "_delta_log")


def commit_file(log: Path, version: int) -> Path:
    return log / f"{version:020}.json"


def cut_in_two(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_after_a_line(file: Path) -> None:
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "the latest commit is cut in two": lambda log: cut_in_two(commit_file(log, 3)),
    "the latest commit is cut off after a line": lambda log: cut_after_a_line(commit_file(log, 3)),
    "an earlier commit is cut in two": lambda log: cut_in_two(commit_file(log, 1)),
    "a commit in the middle is gone": lambda log: commit_file(log, 1).unlink(),
    "the first commit is gone": lambda log: commit_file(log, 0).unlink(),
    "a commit is no text": lambda log: commit_file(log, 3).write_bytes(b"\xff\xfe\x00"),
    "a commit is a list": lambda log: commit_file(log, 3).write_bytes(b"[]"),
    "a commit is zeros": lambda log: commit_file(log, 3).write_bytes(bytes(500)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_is_named_with_its_remedy(
    tables: Tables, four_commits: Path, damage: str
) -> None:
    DAMAGE[damage](four_commits)
    for read in (tables.find, tables.current, lambda asset: tables.begin(asset, "run-4")):
        with pytest.raises(UnreadableVersionError) as caught:
            read(ASSET)
        assert str(tables.prefix(ASSET)) in str(caught.value)
        assert "materialize raw_images again" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"PAR1"])
def test_a_damaged_checkpoint_is_named_with_its_remedy(
    tables: Tables, four_commits: Path, content: bytes
) -> None:
    tables.drop_history(ASSET)
    next(four_commits.glob("*.checkpoint.parquet")).write_bytes(content)
    with pytest.raises(UnreadableVersionError, match="materialize raw_images again"):
        tables.current(ASSET)


def test_a_commit_left_empty_by_a_power_failure_is_ignored(
    tables: Tables, four_commits: Path
) -> None:
    commit_file(four_commits, 3).write_bytes(b"")
    assert paths_of(tables.current(ASSET)) == ["0.jpg", "1.jpg", "2.jpg"]
    assert paths_of(add(tables, "run-4", "4.jpg")) == ["0.jpg", "1.jpg", "2.jpg", "4.jpg"]


def test_an_unfinished_commit_of_a_killed_process_is_ignored(
    tables: Tables, four_commits: Path
) -> None:
    unfinished = four_commits / f"{4:020}.json#1"  # delta-rs's temporary file
    unfinished.write_bytes(commit_file(four_commits, 3).read_bytes()[:100])
    assert len(tables.current(ASSET).files) == 4
    assert len(add(tables, "run-4", "4.jpg").files) == 5


def test_a_commit_of_a_newer_format_is_refused(tables: Tables, four_commits: Path) -> None:
    file = commit_file(four_commits, 3)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    info = next(line["commitInfo"] for line in lines if "commitInfo" in line)
    info[KEY] = json.dumps(json.loads(info[KEY]) | {"format": FORMAT + 1})
    file.write_text("\n".join(json.dumps(line) for line in lines))
    for read in (tables.current, tables.history, lambda asset: tables.begin(asset, "run-4")):
        with pytest.raises(
            UnreadableVersionError, match=r"has format 3, but this release reads formats up to 2"
        ):
            read(ASSET)


def test_the_history_ends_where_the_log_was_dropped(tables: Tables, four_commits: Path) -> None:
    current = tables.current(ASSET)
    tables.drop_history(ASSET)
    assert not commit_file(four_commits, 2).exists()
    assert [commit.version for commit in tables.history(ASSET)] == [3]
    assert tables.current(ASSET) == current
    add(tables, "run-4", "4.jpg")
    assert [commit.version for commit in tables.history(ASSET)] == [4, 3]


def test_a_run_that_began_before_the_log_was_dropped_is_refused(
    tables: Tables, four_commits: Path
) -> None:
    write = tables.begin(ASSET, "run-4")
    marker = add(tables, "erasure")
    tables.drop_history(ASSET)
    assert not commit_file(four_commits, 3).exists()
    with pytest.raises(ConcurrentWriteError, match="run erasure committed version 4"):
        commit_rows(write, "4.jpg")
    assert tables.current(ASSET) == marker


def test_a_first_run_that_started_before_the_log_was_dropped_is_rejected(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-1")
    for number in range(3):
        add(tables, f"other-{number}")
    tables.drop_history(ASSET)
    with pytest.raises(ConcurrentWriteError, match="run other-2 committed"):
        commit_rows(write, "a.jpg")


def test_a_log_can_be_dropped_twice(tables: Tables, four_commits: Path) -> None:
    tables.drop_history(ASSET)
    add(tables, "run-4", "4.jpg")
    tables.vacuum(ASSET)
    tables.drop_history(ASSET)
    assert len(list(four_commits.glob("*.checkpoint.parquet"))) == 1
    assert len(add(tables, "run-5", "5.jpg").files) == 6


def test_every_tenth_commit_writes_a_checkpoint_without_an_effect_on_reads(tables: Tables) -> None:
    for number in range(35):
        add(tables, f"run-{number}", f"{number:02}.jpg")
    log = Path(tables.prefix(ASSET).path, "_delta_log")
    checkpoints = sorted(int(path.name.split(".")[0]) for path in log.glob("*.checkpoint.parquet"))
    assert checkpoints == [9, 19, 29]
    assert paths_of(tables.current(ASSET)) == [f"{number:02}.jpg" for number in range(35)]
    assert [commit.version for commit in tables.history(ASSET)] == list(range(34, -1, -1))


def test_commit_records_survive_log_cleanup_by_other_tools(tables: Tables) -> None:
    current = add(tables, "run-1", "a.jpg")
    folder = Path(tables.prefix(ASSET).path)
    long_ago = time.time() - 400 * 24 * 60 * 60
    for path in (folder / "_delta_log").iterdir():
        os.utime(path, (long_ago, long_ago))
    for _ in range(12):
        DeltaTable(folder).vacuum(dry_run=False, full=True)
    DeltaTable(folder).create_checkpoint()
    assert list((folder / "_delta_log").glob("*.checkpoint.parquet"))
    assert tables.current(ASSET) == current


def read_log(tables: Tables, asset: str) -> dict[str, bytes]:
    """Every file of a log, checkpoints as text."""
    folder = Path(tables.prefix(asset).path)
    DeltaTable(folder).create_checkpoint()
    entries = {path.name: path.read_bytes() for path in (folder / "_delta_log").iterdir()}
    assert {Path(name).suffix for name in entries} == {".json", ".parquet", ""}
    for path in (folder / "_delta_log").glob("*.parquet"):
        entries[path.name] = json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        for file in tables.current(asset).files:
            assert file.name.encode() in entries[path.name]
    return entries


def test_no_path_and_no_id_is_anywhere_in_the_log(tables: Tables) -> None:
    for number, path in enumerate(PEOPLE):
        before = tables.find(ASSET)
        gone = [file.name for file in before.files] if before and number % 2 else []
        add(tables, f"run-{number}", path, remove=gone)
    tables.vacuum(ASSET)
    for name, text in read_log(tables, ASSET).items():
        for path in PEOPLE:
            for known in (path, *path.split("/")[1:], digest_of(path)):
                assert known.encode() not in text, f"{known} is in {name}"


def test_the_log_contains_no_data_of_a_persons_photo_after_ingest(
    spark: SparkSession, tables: Tables, tmp_path: Path, sample: Path
) -> None:
    pictures = sorted(sample.rglob("*.jpg"))[:4]
    names = [f"photos/anna-4711/trip to Rome/me {number}.jpg" for number in range(4)]
    for picture, name in zip(pictures, names, strict=True):
        place = tmp_path / "input" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture.read_bytes())
    (tmp_path / "input" / names[0]).with_name("broken by anna.jpg").write_bytes(b"broken")
    ingest(spark, tables, tmp_path / "input")
    (tmp_path / "input" / names[3]).unlink()
    (tmp_path / "input" / names[2]).write_bytes(pictures[0].read_bytes())
    raw = ingest(spark, tables, tmp_path / "input").raw
    ids = read_columns(raw.locations, ["image_id"])["image_id"].to_pylist()
    assert len(ids) == 3
    for asset in (ASSET, "rejected_images"):
        for name, text in read_log(tables, asset).items():
            for known in ("anna", "4711", "Rome", "me 1", "broken by", *ids):
                assert known.encode() not in text, f"{known} is in {name} of {asset}"


def test_the_log_contains_no_column_statistics(tables: Tables) -> None:
    add(tables, "run-1", "a.jpg")
    table = DeltaTable(tables.prefix(ASSET).path)
    assert table.metadata().configuration["delta.dataSkippingNumIndexedCols"] == "0"
    columns = table.get_add_actions(flatten=True).schema.names
    assert [name for name in columns if name.startswith(("min", "max", "null_count"))] == []


def test_the_table_of_an_artifact_has_no_row_data(tables: Tables) -> None:
    write = tables.begin("csv_export", "run-1")
    write.location.make_folder()
    (write.location / "a.csv").write(b"path\n")
    found = CsvStatistics(digest="d", rows=1, files=("a.csv",), n_components=2)
    snapshot = commit_artifact(write, found)
    assert snapshot.typed(CsvStatistics) == found
    rows = DeltaTable(f"{write.folder.path}").to_pyarrow_table().to_pylist()
    assert [(row["file"], json.loads(row["details"])["rows"]) for row in rows] == [("a.csv", 1)]
