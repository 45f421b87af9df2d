"""Folders with special characters, on disk and in S3: tables work there, or are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_src.errors import SettingsError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.small_tables import ASSET, add, paths_of

USABLE = [
    "a b",
    " spaces ",
    "a#b",
    "50%",
    "100%!",
    "photos [1]",
    "{a,b}",
    "what?",
    "star*",
    "a:b",
    "c:",
    "a+b&c=d",
    "~home",
    'it\'s "quoted"',
    "<a|b>^`",
    "_hidden",
    ".hidden",
    "Übergröße 果物",
    "e\u0301",
]
MISREAD = ["a b#c%20[1]", "a%2Fb", "%25", "tab\there", "line\nbreak"]


def exercise(tables: Tables) -> None:
    """All operations that use names: commits, a removed file, vacuum, a checkpoint."""
    first = add(tables, "run-1", "a.jpg")
    add(tables, "run-2", "b.jpg")
    add(tables, "run-3", "c.jpg", remove=[first.files[0].name])
    tables.vacuum(ASSET)
    add(tables, "run-4", "d.jpg")
    tables.drop_history(ASSET)
    add(tables, "run-5", "e.jpg")
    assert paths_of(tables.current(ASSET)) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert [commit.record.run_id for commit in tables.history(ASSET)] == ["run-5", "run-4"]


@pytest.mark.parametrize("name", USABLE)
def test_tables_work_in_a_folder_of_any_common_name(tmp_path: Path, name: str) -> None:
    exercise(Tables(Location.parse(str(tmp_path)) / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", USABLE)
def test_tables_work_under_a_prefix_of_any_common_name(bucket: str, name: str) -> None:
    exercise(Tables(Location("s3", f"{bucket}/{name}")))
    keys = [item["Key"] for item in client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert {key.split(f"/{ASSET}/")[0] for key in keys} == {name}


@pytest.mark.parametrize("name", [*MISREAD, "back\\slash", "not UTF-8: \udcff"])
def test_a_folder_whose_name_delta_misreads_is_rejected(tmp_path: Path, name: str) -> None:
    tables = Tables(Location("file", f"{tmp_path}/{name}"))
    for use in (tables.find, tables.history, lambda asset: tables.begin(asset, "run-1")):
        with pytest.raises(SettingsError, match="Set FRUITS_STORAGE to a folder without it"):
            use(ASSET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("name", MISREAD)
def test_a_prefix_that_delta_misreads_is_rejected(name: str) -> None:
    with pytest.raises(SettingsError, match="Set FRUITS_STORAGE to a folder without it"):
        Tables(Location("s3", f"bucket/{name}")).begin(ASSET, "run-1")


def test_a_link_to_such_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a%20b")
    with pytest.raises(SettingsError, match="misreads '%20' in a path"):
        Tables(Location.parse(f"{tmp_path}/link")).begin(ASSET, "run-1")


def test_a_link_to_any_other_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    exercise(Tables(Location.parse(f"{tmp_path}/link")))
    assert [path.name for path in (tmp_path / "a b").iterdir()] == [ASSET]
