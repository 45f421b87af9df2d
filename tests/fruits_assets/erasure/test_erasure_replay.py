"""After restoring a backup, erasures are repeated from hashes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from spark_src.contract import FOLDERS
from spark_src.erasure import erased
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.erasure_scanner import files_with
from tests.fruits_assets.erasure.pipeline import OTHER, SUBJECT, assert_erased

Fruits = Callable[..., tuple[int, str]]


def test_a_restored_storage_input_and_database_are_erased_again(
    own: Path, tmp_path: Path, fruits: Fruits
) -> None:
    home = tmp_path / "dagster_home"
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization("raw_images", metadata={"worst": f"photos/{SUBJECT}/1.jpg"})
        )
    backup = Path(shutil.copytree(own, tmp_path / "backup"))
    dump = Path(shutil.copytree(home, tmp_path / "dump"))
    code, text = fruits("erase", "--subject", SUBJECT, "--yes")
    assert (code, files_with(SUBJECT, own, home)) == (0, []), text
    kept = tmp_path / "list"
    shutil.copytree(own / "data" / FOLDERS["erasures"], kept)

    shutil.rmtree(own)
    shutil.copytree(backup, own)  # without the list, which is as old as the rest
    shutil.rmtree(home)
    shutil.copytree(dump, home)
    assert len(files_with(SUBJECT, own, home)) > 3
    assert fruits("erase", "--replay", "--yes")[0] == 2  # the storage has no list
    code, text = fruits("erase", "--replay", "--erased-list", str(kept), "--dry-run")
    assert (code, SUBJECT in text, OTHER in text) == (0, True, False)
    assert len(files_with(SUBJECT, own, home)) > 3
    code, text = fruits("erase", "--replay", "--erased-list", str(kept), "--yes")
    assert (code, files_with(SUBJECT, own, home)) == (0, []), text
    assert_erased(own)
    assert "No erased data was restored" in fruits("erase", "--replay")[1]


def test_a_restored_database_alone_is_erased_again(
    own: Path, tmp_path: Path, fruits: Fruits
) -> None:
    erased.record(Tables(Location.parse(str(own / "data"))), "a" * 32, Target.from_names("dora-5"))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization("raw_images", metadata={"worst": "photos/dora-5/1.jpg"})
        )
    code, text = fruits("erase", "--replay", "--yes")
    assert code == 0, text
    assert files_with("dora-5", own, tmp_path / "dagster_home") == []
    assert (own / "input" / "photos" / SUBJECT).exists()


def test_the_list_has_no_names_or_ids_and_its_hashes_differ_between_storages(
    tmp_path: Path,
) -> None:
    entries = []
    for name in ("first", "second"):
        tables = Tables(Location.parse(str(tmp_path / name)))
        Path(tables.root.path, FOLDERS["erasures"]).mkdir(parents=True)
        for request, target in (
            ("1", Target.from_names(SUBJECT)),
            ("2", Target.from_names(None, ["a" * 64])),
        ):
            erased.record(tables, request, target)
            erased.record(tables, request, target)
        entries.append(
            [
                json.loads(file.read_text())
                for file in sorted(Path(tables.root.path).rglob("*.erased"))
            ]
        )
    first, second = entries
    assert len(first) == len(second) == 2
    assert first[0]["salt"] == first[1]["salt"] != second[0]["salt"]
    assert first[0]["subject"] != second[0]["subject"]
    assert files_with(SUBJECT, tmp_path) == files_with("a" * 64, tmp_path) == []


def test_only_listed_names_and_pictures_are_found_by_their_hashes(tmp_path: Path) -> None:
    tables = Tables(Location.parse(str(tmp_path)))
    (tmp_path / FOLDERS["erasures"]).mkdir()
    erased.record(tables, "1", Target.from_names('an"na\n é'))
    erased.record(tables, "2", Target.from_names(None, ["a" * 64]))
    entries = erased.load(erased.folder_of(tables))
    found = erased.find(entries, ['an"na\n é', "an", "anna"], ["a" * 64, "b" * 64])
    assert [(target.subject, target.image_ids) for target in found] == [
        ('an"na\n é', frozenset()),
        (None, frozenset({"a" * 64})),
    ]


def test_an_unreadable_entry_is_reported(tmp_path: Path) -> None:
    (tmp_path / "receipt-1.erased").write_text("{")
    with pytest.raises(ErasureError, match=r"receipt-1\.erased is not a valid entry"):
        erased.load(Location.parse(str(tmp_path)))
