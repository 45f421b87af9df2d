"""Runs that fail: the message is clear, what was current stays, nothing half-written is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruits_assets.io_managers import CsvIOManager, ParquetIOManager
from spark_src.io.locations import Location
from spark_src.spark.progress import Work
from spark_src.storage import Version

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Version]
Pointers = Callable[[Path], dict[str, bytes]]
HalfWritten = Callable[[Path, str], list[str]]
ErrorText = Callable[[dg.ExecuteInProcessResult], str]
Made = Callable[[dg.ExecuteInProcessResult], set[str]]
Say = Callable[[str], None]


class LosesAnImage(ParquetIOManager):
    """Writes one row of the features too few."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        if asset == "mobilenet_features":
            made = replace(made, write=partial(self._lose_one, made.write))
        return super().write(made, asset, folder, say)

    @staticmethod
    def _lose_one(write: Callable[[Location], object], folder: Location) -> None:
        write(folder)
        file = Path(folder.path, "part-00000.parquet")
        pq.write_table(pq.read_table(file).slice(1), file)


class RunsOutOfSpace(CsvIOManager):
    """Fails when everything but the last bit is written."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        super().write(made, asset, folder, say)
        raise OSError(28, "No space left on device", (folder / "last.csv").path)


class IsOvertaken(CsvIOManager):
    """Another run makes its version current while this one writes."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        facts = super().write(made, asset, folder, say)
        versions = self.storage.versions
        other = versions.begin(asset, "another-run")
        (other.location / "pca_components.csv").write(b"image_id\n")
        versions.publish(other, facts)
        return facts


def test_a_failing_blocking_check_keeps_what_follows_from_being_made(
    copied: Path, run: Run, made: Made, pointers: Pointers
) -> None:
    before = pointers(copied)
    managers = {"tables": LosesAnImage}
    result = run(copied, "mobilenet_features+", io_managers=managers, raise_on_error=False)
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [e.description for e in failed] == ["239 mobilenet_features is not 240 raw_images"]
    assert not result.success
    assert made(result) == {"mobilenet_features"}
    changed = {asset for asset, content in pointers(copied).items() if content != before[asset]}
    assert changed == {"mobilenet_features"}


def test_a_failed_write_leaves_the_old_version_current_and_nothing_half_written(
    copied: Path, run: Run, current: Current, half_written: HalfWritten, error_text: ErrorText
) -> None:
    before = current(copied, "csv_export")
    managers = {"csv_files": RunsOutOfSpace}
    result = run(copied, "csv_export", io_managers=managers, raise_on_error=False)
    assert not result.success
    assert "No space left on device" in error_text(result)
    assert current(copied, "csv_export") == before
    file = before.location / "pca_components.csv"
    assert len(file.read().splitlines()) == 241
    assert half_written(copied, "csv_export") == []


def test_a_picture_that_cannot_be_drawn_costs_the_picture_and_nothing_else(
    copied: Path, run: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("image file is truncated")

    monkeypatch.setattr("fruits_assets.pictures.Gallery.of", fails)
    result = run(copied, "csv_export")
    assert result.success
    assert made(result) == {"csv_export"}


def test_a_run_that_another_overtook_fails_and_leaves_nothing_half_written(
    copied: Path, run: Run, current: Current, half_written: HalfWritten, error_text: ErrorText
) -> None:
    managers = {"csv_files": IsOvertaken}
    result = run(copied, "csv_export", io_managers=managers, raise_on_error=False)
    assert not result.success
    assert "materialize again, one run at a time" in error_text(result)
    assert current(copied, "csv_export").run_id == "another-run"
    assert half_written(copied, "csv_export") == []


def test_a_stored_picture_that_cannot_be_decoded_is_named_and_the_old_features_stay(
    *,
    copied: Path,
    run: Run,
    current: Current,
    parts: Callable[[Path, str], list[Path]],
    half_written: HalfWritten,
    error_text: ErrorText,
) -> None:
    before = current(copied, "mobilenet_features")
    part = parts(copied, "raw_images")[0]
    pictures = pq.read_table(part)
    contents = pictures.column("content").to_pylist()
    contents[7] = b"no picture"
    index = pictures.schema.get_field_index("content")
    pq.write_table(pictures.set_column(index, "content", pa.array(contents, pa.binary())), part)
    anew = {"mobilenet_features": {"recompute": True}}
    result = run(copied, "mobilenet_features", ops=anew, raise_on_error=False)
    assert not result.success
    assert current(copied, "mobilenet_features") == before
    assert pq.read_table(before.location.path).num_rows == 240
    assert half_written(copied, "mobilenet_features") == []
    assert pictures.column("path").to_pylist()[7] in error_text(result)


@pytest.fixture
def with_junk(copy_pictures: Callable[..., Path], tmp_path: Path) -> Path:
    """12 pictures and 2 files that are none."""
    folder = copy_pictures(tmp_path / "input", 12)
    for name in ("notes.txt", "thumbs.jpg"):
        (folder / "Training" / name).write_text("no picture")
    return folder


def test_too_much_junk_fails_the_run_with_the_ledger_written_and_the_pictures_kept(
    with_junk: Path, copied: Path, run: Run, current: Current, error_text: ErrorText
) -> None:
    before = current(copied, "raw_images")
    result = run(copied, "raw_images+", source=with_junk, raise_on_error=False)
    assert not result.success
    text = error_text(result)
    assert f"2 of 14 files under {with_junk} were rejected (14.3%)" in text
    assert "at most 5.0% may be" in text
    assert "raise max_rejected_share" in text
    assert current(copied, "raw_images") == before
    assert pq.read_table(before.location.path).num_rows == 240
    ledger = pq.read_table(current(copied, "rejected_images").location.path).to_pylist()
    assert [(row["path"], row["reason"]) for row in ledger] == [
        ("Training/notes.txt", "not_an_image"),
        ("Training/thumbs.jpg", "not_an_image"),
    ]


def test_a_run_can_allow_more_junk(with_junk: Path, tmp_path: Path, run: Run) -> None:
    ops = {"ingest": {"max_rejected_share": 0.15}}
    result = run(tmp_path / "data", "raw_images", source=with_junk, ops=ops)
    evaluations = result.get_asset_check_evaluations()
    assert sorted(str(e.description) for e in evaluations) == [
        "12 raw_images + 2 rejected_images = 14 files under the input",
        "2 files, every page as it was written",
        "all data is on this machine",
    ]


def test_an_input_of_nothing_but_junk_never_becomes_an_empty_table_of_features(
    copied: Path, tmp_path: Path, run: Run, current: Current, error_text: ErrorText
) -> None:
    folder = tmp_path / "junk"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    before = current(copied, "pca_components")
    ops = {"ingest": {"max_rejected_share": 1.0}}
    result = run(copied, "raw_images+", source=folder, ops=ops, raise_on_error=False)
    assert not result.success
    assert current(copied, "pca_components") == before
    assert "TypeError" not in error_text(result)


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("pca", "n_components", 0),
        ("pca", "n_components", 1281),
        ("pca", "min_explained_variance", 0),
        ("pca", "min_explained_variance", 1.1),
        ("ingest", "max_rejected_share", 2),
        ("ingest", "max_rejected_share", -0.1),
        ("ingest", "max_bytes", 0),
        ("ingest", "max_pixels", 0),
        ("pca", "n_component", 10),
    ],
)
def test_a_value_out_of_range_in_the_run_config_is_refused_by_name(
    *, op: str, field: str, value: float, copied: Path, run: Run, pointers: Pointers
) -> None:
    before = pointers(copied)
    select = "pca_components" if op == "pca" else "raw_images"
    with pytest.raises(Exception, match=field):
        run(copied, select, ops={op: {field: value}})
    assert pointers(copied) == before


def test_more_components_than_images_are_refused_with_the_remedy(
    copied: Path, run: Run, error_text: ErrorText, pointers: Pointers
) -> None:
    before = pointers(copied)
    result = run(copied, "pca_model", ops={"pca": {"n_components": 180}}, raise_on_error=False)
    text = error_text(result)
    assert "needs at least 181 images to fit on, but there are 180" in text
    assert "lower n_components" in text
    assert pointers(copied) == before


def test_a_changed_model_file_is_refused_before_any_feature_is_computed(
    copied: Path, run: Run, current: Current, error_text: ErrorText
) -> None:
    file = Path(current(copied, "mobilenet_model").location.path) / "mobilenet_v2.tflite"
    file.write_bytes(file.read_bytes() + b"\0")
    before = current(copied, "mobilenet_features")
    result = run(copied, "mobilenet_features", raise_on_error=False)
    assert "the file was changed" in error_text(result)
    assert current(copied, "mobilenet_features") == before


def test_what_follows_reads_the_new_version_and_the_one_before_stays_readable(
    copied: Path, run: Run, current: Current
) -> None:
    before = current(copied, "pca_components")
    run(copied, "pca_components", ops={"pca": {"n_components": 3}})
    rows = pq.read_table(current(copied, "pca_components").location.path)
    assert {len(row) for row in rows.column("pca").to_pylist()} == {3}
    assert pq.read_table(before.location.path).num_rows == 240
    shutil.rmtree(before.location.path)
    run(copied, "csv_export")
    header = (current(copied, "csv_export").location / "pca_components.csv").read().splitlines()[0]
    assert header.decode().endswith("pca_0,pca_1,pca_2")
