"""Assets stored as files: which file is current, and which files are deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from spark_src.errors import ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.tables.artifacts import ORPHAN_DAYS, commit_artifact
from spark_src.tables.change import Change
from spark_src.tables.delta import CURRENT, Snapshot, Tables
from spark_src.tables.statistics import MobilenetModelStatistics, Statistics

ASSET = "mobilenet_model"
OLD = (ORPHAN_DAYS + 1) * 24 * 60 * 60


@pytest.fixture(params=["on disk", pytest.param("in S3", marks=pytest.mark.integration)])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    if request.param == "on disk":
        return Tables(Location.parse(str(tmp_path / "a b")))
    return Tables(Location.parse(f"s3://{request.getfixturevalue('bucket')}/data"))


@pytest.fixture
def on_disk(tmp_path: Path) -> Tables:
    return Tables(Location.parse(str(tmp_path / "data")))


def statistics(digest: str, *names: str) -> MobilenetModelStatistics:
    return MobilenetModelStatistics(
        digest=digest,
        sha256=digest,
        weights_sha256="weights",
        converter="converter",
        input_size=224,
        width_multiplier=1.0,
        greatest_difference=0.0,
        files=names or (f"{digest}.tflite",),
    )


def write_files(folder: Location, *names: str) -> None:
    for name in names:
        file = folder / name
        if file.scheme == "file":
            file.parent.make_folder()
        file.write(name.encode())


def make(tables: Tables, digest: str, *names: str) -> Snapshot:
    """A complete run: start a change, write the file, commit, clean up."""
    write = tables.begin(ASSET, f"run-{digest}")
    found = statistics(digest, *names)
    write_files(write.location, *(f"{name}/data" if "/" in name else name for name in found.files))
    return Change(write, found).commit()


def names_in(tables: Tables) -> set[str]:
    """Names in the asset's folder."""
    folder = tables.prefix(ASSET)
    names = (file.path.removeprefix(f"{folder.path}/") for file in folder.files())
    return {name.split("/")[0] for name in names} - {CURRENT}


def age(path: str) -> None:
    then = time.time() - OLD
    os.utime(path, (then, then))


def test_a_file_is_current_when_it_is_committed(tables: Tables) -> None:
    write = tables.begin(ASSET, "run-1")
    write_files(write.location, "one.tflite")
    assert tables.find(ASSET) is None
    snapshot = commit_artifact(write, statistics("one"))
    assert tables.current(ASSET) == snapshot
    assert snapshot.data_location.read() == b"one.tflite"
    assert snapshot.bytes == len(b"one.tflite")


def test_the_second_of_two_concurrent_commits_is_rejected(tables: Tables) -> None:
    make(tables, "zero")
    first, second = tables.begin(ASSET, "run-1"), tables.begin(ASSET, "run-2")
    write_files(first.location, "one.tflite", "two.tflite")
    commit_artifact(first, statistics("one"))
    with pytest.raises(ConcurrentWriteError, match="run-1 committed"):
        commit_artifact(second, statistics("two"))
    assert tables.current(ASSET).data_location.name == "one.tflite"


def test_the_files_of_the_last_two_versions_are_kept(tables: Tables) -> None:
    for digest in ("one", "two", "three", "four"):
        make(tables, digest)
    assert names_in(tables) == {"three.tflite", "four.tflite"}
    assert tables.current(ASSET).data_location.read() == b"four.tflite"


def test_a_file_that_is_current_again_is_kept(tables: Tables) -> None:
    for digest in ("one", "two", "one", "two", "two"):
        make(tables, digest)
    assert names_in(tables) == {"two.tflite"}


def test_a_file_of_the_same_name_in_every_version_is_kept(tables: Tables) -> None:
    for number in range(4):
        make(tables, f"{number}", "pca_components.csv")
    assert names_in(tables) == {"pca_components.csv"}


def test_a_folder_is_deleted_with_its_contents(on_disk: Tables) -> None:
    for digest in ("one", "two", "three"):
        write = on_disk.begin(ASSET, digest)
        write_files(write.location, f"{digest}.npz", f"{digest}.spark/data/part-0")
        Change(write, statistics(digest, f"{digest}.npz", f"{digest}.spark")).commit()
    assert names_in(on_disk) == {"two.npz", "two.spark", "three.npz", "three.spark"}
    assert not Path(on_disk.prefix(ASSET).path, "one.spark").exists()


def test_uncommitted_files_of_another_run_are_kept(tables: Tables) -> None:
    write_files(tables.prefix(ASSET), "other.tflite")
    for digest in ("one", "two", "three"):
        make(tables, digest)
    assert names_in(tables) == {"two.tflite", "three.tflite", "other.tflite"}


def test_files_of_a_killed_run_are_deleted_after_a_week(on_disk: Tables) -> None:
    folder = on_disk.prefix(ASSET)
    write_files(folder, "dead.tflite", "dead.spark/part-0", "young.spark/old", "young.spark/new")
    for name in ("dead.tflite", "dead.spark/part-0", "young.spark/old"):
        age((folder / name).path)
    make(on_disk, "one")
    assert names_in(on_disk) == {"one.tflite", "young.spark"}
    assert (folder / "young.spark/old").exists()


def test_a_current_file_is_kept_regardless_of_its_age(on_disk: Tables) -> None:
    for digest in ("one", "two"):
        make(on_disk, digest)
    for file in on_disk.prefix(ASSET).files():
        age(file.path)
    write = on_disk.begin(ASSET, "marker")
    assert write.before is not None
    marker = Change(write, write.before.statistics).commit()
    assert marker.data_location.read() == b"two.tflite"
    assert names_in(on_disk) == {"two.tflite"}


def test_a_rejected_change_deletes_no_file(on_disk: Tables) -> None:
    make(on_disk, "one")
    late = on_disk.begin(ASSET, "late")
    make(on_disk, "two")
    write_files(late.location, "late.tflite")
    with pytest.raises(ConcurrentWriteError):
        Change(late, statistics("late")).commit()
    assert names_in(on_disk) == {"one.tflite", "two.tflite", "late.tflite"}
    assert on_disk.current(ASSET).data_location.read() == b"two.tflite"


def test_an_empty_change_deletes_no_file(on_disk: Tables) -> None:
    made = make(on_disk, "one")
    write_files(on_disk.prefix(ASSET), "dead.tflite")
    age((on_disk.prefix(ASSET) / "dead.tflite").path)
    assert Change.none(on_disk.begin(ASSET, "run-2")).commit() == made
    assert names_in(on_disk) == {"one.tflite", "dead.tflite"}


def test_an_asset_without_a_version_cannot_be_unchanged(on_disk: Tables) -> None:
    with pytest.raises(ValueError, match="mobilenet_model has no version yet"):
        Change.none(on_disk.begin(ASSET, "run-1")).commit()


def test_the_measurement_with_the_most_images_is_kept(on_disk: Tables) -> None:
    def after(images: int) -> Statistics:
        write = on_disk.begin(ASSET, "run")
        write_files(write.location, "one.tflite")
        return Change(write, statistics("one"), images=images, cores=4).commit().statistics

    assert after(1000).measured.images == 1000
    assert after(10).measured.images == 1000
    assert after(2000).measured.images == 2000
    assert after(2000).measured.cores == 4


def test_cleanup_is_called_after_the_commit(
    on_disk: Tables,
) -> None:
    seen: list[str] = []
    write = on_disk.begin(ASSET, "run-1")
    write_files(write.location, "one.tflite")

    def cleanup() -> None:
        seen.append(on_disk.current(ASSET).record.run_id)

    Change(write, statistics("one"), cleanup=cleanup).commit()
    assert seen == ["run-1"]


def test_cleaning_up_does_not_read_old_commits(on_disk: Tables) -> None:
    for number in range(12):
        make(on_disk, f"{number}")
    log = Path(on_disk.prefix(ASSET).path, CURRENT, "_delta_log")
    (log / f"{0:020}.json").write_text('{"commitInfo":')
    make(on_disk, "latest")
    assert names_in(on_disk) == {"11.tflite", "latest.tflite"}
