"""Refreshing costs only what changed, and unchanged rows stay bit-identical."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from fruits_assets.checks.run_checks import Outcome
from spark_src.contract import PREFIXES
from spark_src.pca.fit import load_current
from spark_src.tables.delta import Snapshot

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Snapshot]
Digests = Callable[[Path], dict[str, str]]
Read = Callable[..., pa.Table]
Metadata = Mapping[str, dg.MetadataValue]

TABLES = ("raw_images", "mobilenet_features", "pca_components")

MATERIALIZE = """
import atexit, runpy, sys
import pyspark
atexit.register(lambda: print("JVM started:", pyspark.SparkContext._gateway is not None))
atexit.register(lambda: print("TensorFlow loaded:", "tensorflow" in sys.modules))
sys.argv = ["dagster", "asset", "materialize", *sys.argv[1:]]
runpy.run_module("dagster", run_name="__main__")
"""


@dataclass(frozen=True)
class Home:
    """A writable input, and the storage of a full run on it."""

    source: Path
    root: Path

    @property
    def pictures(self) -> list[Path]:
        """The pictures of the input, sorted."""
        return sorted(self.source.rglob("*.jpg"))


@pytest.fixture
def home(
    copied: Path, sample: Path, tmp_path: Path, set_statistics: Callable[..., Snapshot]
) -> Home:
    """The sample, and the storage of a run on it."""
    source = Path(shutil.copytree(sample, tmp_path / "input"))
    for asset in ("raw_images", "rejected_images"):
        set_statistics(copied, asset, input=source.as_uri())
    return Home(source, copied)


@pytest.fixture
def refresh(home: Home, run: Run) -> Callable[[], dict[str, Metadata]]:
    """Materialize the pictures and all downstream assets; return the metadata of each."""

    def materialize() -> dict[str, Metadata]:
        result = run(home.root, "raw_images*", source=home.source)
        events = [event.materialization for event in result.get_asset_materialization_events()]
        return {made.asset_key.to_user_string(): made.metadata for made in events}

    return materialize


def turn(picture: Path, target: Path) -> None:
    """Write a picture with new content."""
    with Image.open(picture) as image:
        image.rotate(90).save(target, "JPEG", quality=90)


def numbers(table: pa.Table, column: str) -> dict[str, bytes]:
    """The exact components of each picture."""
    arrow = zip(table["path"].to_pylist(), table[column].to_pylist(), strict=True)
    return {
        path: pa.array(vector, pa.float32()).buffers()[1].to_pybytes() for path, vector in arrow
    }


def names(table: pa.Table) -> dict[str, str]:
    """The picture ids by path."""
    return dict(zip(table["path"].to_pylist(), table["image_id"].to_pylist(), strict=True))


def test_an_unchanged_input_is_listed_and_nothing_is_written_or_started(
    copied: Path, digests: Digests
) -> None:
    before = digests(copied)
    command = [
        sys.executable,
        "-c",
        MATERIALIZE,
        "--select",
        "*",
        "-m",
        "fruits_assets.definitions",
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"FRUITS_STORAGE": str(copied)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert "JVM started: False" in output
    assert "TensorFlow loaded: False" in output
    assert output.count("ASSET_CHECK_EVALUATION - ") == 24
    for asset in PREFIXES:
        assert f"{asset} is unchanged: version 0 stays current" in output
    assert digests(copied) == before


def test_one_new_picture_adds_a_file_to_each_table_and_changes_no_existing_number(
    home: Home, refresh: Callable[[], dict[str, Metadata]], digests: Digests, read: Read
) -> None:
    before, yesterday = digests(home.root), read(home.root, "pca_components")
    lines = (home.root / "Results_CSV" / "pca_components.csv").read_text().splitlines()
    turn(home.pictures[-1], home.pictures[-1].with_name("new.jpg"))

    shown = refresh()

    after = digests(home.root)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {"Results_CSV/pca_components.csv"}
    new = [name for name in after.keys() - before if "/part-" in name and "_current" not in name]
    assert sorted(name.split("/")[0] for name in new) == ["Results", "Results_PCA", "raw_images"]
    assert shown["raw_images"]["files read"].value == 1
    assert shown["mobilenet_features"]["images computed"].value == 1
    assert shown["pca_components"]["images projected"].value == 1
    assert str(shown["pca_model"]["fit"].value) == (
        "the model is kept; updated for 1 added and 0 removed images"
    )
    today = numbers(read(home.root, "pca_components"), "pca")
    assert numbers(yesterday, "pca").items() <= today.items()
    assert len(today) == 241
    csv = (home.root / "Results_CSV" / "pca_components.csv").read_text().splitlines()
    assert set(lines) < set(csv) and len(csv) == 242


def test_deleted_and_changed_pictures_are_gone_or_replaced_in_every_table_and_in_the_csv_file(
    home: Home, refresh: Callable[[], dict[str, Metadata]], read: Read
) -> None:
    before = {asset: read(home.root, asset) for asset in TABLES}
    first, second, changed, *_ = home.pictures
    first.unlink()
    second.unlink()
    turn(changed, changed)
    expected = [str(picture.relative_to(home.source)) for picture in home.pictures]
    path = str(changed.relative_to(home.source))

    shown = refresh()

    assert shown["raw_images"]["files read"].value == 1
    assert shown["mobilenet_features"]["images computed"].value == 1
    after = {asset: read(home.root, asset) for asset in TABLES}
    csv = pd.read_csv(home.root / "Results_CSV" / "pca_components.csv")
    assert [table["path"].to_pylist() for table in after.values()] == [expected] * 3
    assert csv["path"].tolist() == expected
    ids = [names(table) for table in after.values()]
    assert ids[0] == ids[1] == ids[2] == names(pa.Table.from_pandas(csv))
    old = names(before["raw_images"])
    assert {name for name in expected if ids[0][name] != old[name]} == {path}
    for asset, column in (("mobilenet_features", "features"), ("pca_components", "pca")):
        known, found = (numbers(tables[asset], column) for tables in (before, after))
        assert {name for name in found if found[name] != known[name]} == {path}


def test_a_picture_moved_to_another_label_is_not_computed_again(
    home: Home, refresh: Callable[[], dict[str, Metadata]], read: Read
) -> None:
    picture = home.pictures[0]
    target = home.source / "Training" / "Pear" / picture.name
    target.parent.mkdir()
    picture.rename(target)
    shown = refresh()
    assert shown["mobilenet_features"]["images computed"].value == 0
    rows = read(home.root, "pca_components").to_pylist()
    assert [row["path"] for row in rows if row["label"] == "Pear"] == [
        f"Training/Pear/{picture.name}"
    ]
    assert len(rows) == 240


def test_litter_is_counted_and_changes_no_downstream_asset(
    home: Home,
    refresh: Callable[[], dict[str, Metadata]],
    check: Callable[[Path], dict[str, Outcome]],
) -> None:
    for name in (".DS_Store", "1.xmp", "2.xmp"):
        (home.source / "Training" / name).write_bytes(b"litter")
    shown = refresh()
    assert {asset for asset in shown if not shown[asset]["unchanged"].value} == {"raw_images"}
    ignored = shown["raw_images"]["ignored files by kind"]
    assert isinstance(ignored, dg.TableMetadataValue)
    counts = {record.data["kind"]: record.data["files"] for record in ignored.records}
    assert counts == {"sidecars": 2, ".DS_Store": 1}
    assert check(home.root)["raw_images:no_image_lost"].text == (
        "240 raw_images + 0 rejected_images + 3 ignored = 243 files under the input"
    )


def test_more_than_a_tenth_of_new_training_pictures_refits_pca_with_a_note(
    home: Home, refresh: Callable[[], dict[str, Metadata]], current: Current, read: Read
) -> None:
    model = load_current(current(home.root, "pca_model"))
    before = numbers(read(home.root, "pca_components"), "pca")
    for picture in home.pictures[-30:]:  # in the split `Training`
        shutil.copyfile(picture, picture.with_name(f"again-{picture.name}"))
    shown = refresh()
    reason = "fitted on 210 images: 30 of 210 images are new since the last fit (14%)"
    assert str(shown["pca_model"]["fit"].value).startswith(reason)
    assert current(home.root, "pca_model").record.note.startswith(reason)
    assert load_current(current(home.root, "pca_model")).digest != model.digest
    assert before.items().isdisjoint(numbers(read(home.root, "pca_components"), "pca").items())


@pytest.mark.parametrize("asset", TABLES)
def test_the_remedy_for_a_damaged_table_repairs_it(
    *,
    asset: str,
    home: Home,
    run: Run,
    parts: Callable[[Path, str], list[Path]],
    check: Callable[[Path], dict[str, Outcome]],
    read: Read,
) -> None:
    before = read(home.root, asset)
    file = parts(home.root, asset)[0]
    file.write_bytes(file.read_bytes()[:1000])
    damaged = check(home.root)[f"{asset}:files_are_whole"]
    folder = home.root / PREFIXES[asset]
    assert (damaged.verdict, str(file) in damaged.text) == ("FAILS", True)
    assert f"delete the folder {folder} and materialize {asset} again" in damaged.text
    shutil.rmtree(folder)
    assert run(home.root, "raw_images*", source=home.source).success
    verdicts = {name: outcome.verdict for name, outcome in check(home.root).items()}
    # The sample has neighbouring frames of films in both splits.
    assert verdicts.pop("data_health:no_picture_in_two_splits") == "warns"
    assert set(verdicts.values()) == {"passes"}
    assert read(home.root, asset).drop_columns(["path"]).equals(before.drop_columns(["path"]))
