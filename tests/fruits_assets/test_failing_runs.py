"""Failing runs have a clear message and leave the current versions unchanged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.metadata import Metadata
from spark_src.contract import PREFIXES
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot
from tests.fruits_assets.conftest import changed

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Snapshot]
Digests = Callable[[Path], dict[str, str]]
ErrorText = Callable[[dg.ExecuteInProcessResult], str]
Made = Callable[[dg.ExecuteInProcessResult], set[str]]
Read = Callable[..., pa.Table]

WITH_3 = {"pca_model": {"n_components": 3}}
UPSTREAM = {
    "pca_components": "pca_model",
    "csv_export": "key:pca_model or key:pca_components",
    "embedding_quality": "key:pca_model or key:pca_components",
    "data_health": "key:pca_model",
    "fruit_classifier": "key:pca_model or key:pca_components",
    "label_issues": "key:pca_model or key:pca_components",
}
"""Upstream assets of a run with three components, so that the asset has to be rebuilt."""


class RunsOutOfSpace(DeltaIOManager):
    """Fails after all files are written, before the commit."""

    def store(self, change: Change, context: Any, code_version: str = "") -> Metadata:
        if change.write.asset in {"pca_components", "csv_export"}:
            raise OSError(28, "No space left on device", str(change.write.location))
        return super().store(change, context, code_version)


class IsOvertaken(DeltaIOManager):
    """Another run commits its version while this one writes."""

    def store(self, change: Change, context: Any, code_version: str = "") -> Metadata:
        write = change.write
        if write.before is not None and change.statistics is not None:
            other = self.storage.tables.begin(write.asset, "another-run")
            Change(other, changed(write.before.statistics, {"digest": "another"})).commit()
        return super().store(change, context, code_version)


@pytest.mark.parametrize("asset", ["pca_components", "csv_export"])
def test_a_failed_write_leaves_the_old_version_current_and_the_next_run_succeeds(
    *, asset: str, copied: Path, run: Run, current: Current, digests: Digests, error_text: ErrorText
) -> None:
    run(copied, UPSTREAM[asset], ops=WITH_3)
    before, files = current(copied, asset), digests(copied)
    managers = {"delta": RunsOutOfSpace}
    result = run(copied, asset, io_managers=managers, raise_on_error=False)
    assert not result.success
    text = error_text(result)
    assert f"The disk of {before.location} is full (" in text
    assert "or set FRUITS_STORAGE to a folder on a larger disk" in text
    assert current(copied, asset) == before
    assert files.items() <= digests(copied).items()
    assert run(copied, asset).success
    assert current(copied, asset).version == before.version + 1
    assert not (copied / "Results_CSV" / "_staged").exists()


@pytest.mark.parametrize("asset", UPSTREAM)
def test_a_run_overtaken_by_another_fails_and_changes_nothing(
    *, asset: str, copied: Path, run: Run, current: Current, digests: Digests, error_text: ErrorText
) -> None:
    run(copied, UPSTREAM[asset], ops=WITH_3)
    before, files = current(copied, asset), digests(copied)
    managers = {"delta": IsOvertaken}
    result = run(copied, asset, io_managers=managers, raise_on_error=False)
    assert not result.success
    text = error_text(result)
    assert f"{asset}: run another-run committed version {before.version + 1}" in text
    assert "materialize again, one run at a time" in text
    after = current(copied, asset)
    assert (after.record.run_id, after.statistics.digest) == ("another-run", "another")
    assert after.data_location == before.data_location
    assert files.items() <= digests(copied).items()


def test_a_failed_preview_does_not_fail_the_run(
    copied: Path, run: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("image file is truncated")

    monkeypatch.setattr("fruits_assets.materialization.preview", fails)
    result = run(copied, "pca_model", ops=WITH_3)
    assert result.success
    assert made(result) == {"pca_model"}


def test_identical_vectors_are_refused_before_downstream_assets_run(
    copied: Path, sample: Path, tmp_path: Path, run: Run, made: Made, error_text: ErrorText
) -> None:
    source = tmp_path / "input" / "Training" / "Apple"
    source.mkdir(parents=True)
    for number in range(5):
        shutil.copyfile(min(sample.rglob("*.jpg")), source / f"{number}.jpg")
    result = run(copied, "raw_images*", source=source.parents[1], raise_on_error=False)
    assert not result.success
    assert "mobilenet_features: all 5 images have the same vector" in error_text(result)
    assert made(result) == {"raw_images", "rejected_images"}


def test_an_undecodable_stored_picture_is_named_and_the_old_features_stay(
    *,
    copied: Path,
    run: Run,
    current: Current,
    parts: Callable[[Path, str], list[Path]],
    digests: Digests,
    error_text: ErrorText,
) -> None:
    part = parts(copied, "raw_images")[0]
    pictures = pq.read_table(part)
    contents = pictures.column("content").to_pylist()
    contents[7] = b"no picture"
    index = pictures.schema.get_field_index("content")
    pq.write_table(pictures.set_column(index, "content", pa.array(contents, pa.binary())), part)
    before, files = current(copied, "mobilenet_features"), digests(copied)
    recompute = {"mobilenet_features": {"recompute": True}}
    result = run(copied, "mobilenet_features", ops=recompute, raise_on_error=False)
    assert not result.success
    assert pictures.column("path").to_pylist()[7] in error_text(result)
    assert current(copied, "mobilenet_features") == before
    assert files.items() <= digests(copied).items()


def test_a_changed_model_file_is_refused_before_any_feature_is_computed(
    copied: Path, run: Run, current: Current, error_text: ErrorText, digests: Digests
) -> None:
    file = Path(current(copied, "mobilenet_model").data_location.path)
    file.write_bytes(file.read_bytes() + b"\0")
    before = digests(copied)
    ops = {"mobilenet_features": {"recompute": True}}
    result = run(copied, "mobilenet_features", ops=ops, raise_on_error=False)
    assert f"{file} was changed" in error_text(result)
    assert "materialize --select mobilenet_model" in error_text(result)
    assert digests(copied) == before


@pytest.fixture
def with_junk(copy_pictures: Callable[..., Path], tmp_path: Path) -> Path:
    """12 pictures, each four times, and 8 files that are not pictures."""
    folder = copy_pictures(tmp_path / "input", 12, copies=4)
    for number in range(8):
        (folder / "Training" / f"notes-{number}.txt").write_text("no picture")
    return folder


def test_too_many_rejected_files_fail_the_run_but_are_recorded(
    *, with_junk: Path, copied: Path, run: Run, read: Read, digests: Digests, error_text: ErrorText
) -> None:
    before = digests(copied)
    result = run(copied, "raw_images+", source=with_junk, raise_on_error=False)
    assert not result.success
    text = error_text(result)
    assert f"8 of 56 files under {with_junk} were rejected (14.3%)" in text
    assert "the limit is 5.0%" in text
    assert "`uv run fruits run --set ingest.max_rejected_share=0.15`" in text
    (failed,) = [event.step_failure_data for event in result.get_step_failure_events()]
    shown = failed.user_failure_data.metadata
    (counts,) = shown["rejected files by reason"].records
    assert counts.data == {"name": "not_an_image", "count": 8}
    folder = copied / PREFIXES["rejected_images"]
    assert shown["table of rejected files"].value == folder.as_uri()
    others = {name for name in before if not name.startswith(PREFIXES["rejected_images"])}
    after = digests(copied)
    assert {name for name in after if not name.startswith(PREFIXES["rejected_images"])} == others
    assert {name: after[name] for name in before} == before
    ledger = read(copied, "rejected_images").to_pylist()
    assert [(row["path"], row["reason"]) for row in ledger] == [
        (f"Training/notes-{number}.txt", "not_an_image") for number in range(8)
    ]


def test_a_run_can_allow_more_rejected_files(with_junk: Path, tmp_path: Path, run: Run) -> None:
    ops = {"ingest": {"max_rejected_share": 0.15}}
    result = run(tmp_path / "data", "raw_images", source=with_junk, ops=ops)
    evaluations = result.get_asset_check_evaluations()
    assert sorted(str(e.description) for e in evaluations) == [
        "1 of 1 file read, every page matches its checksum",
        "48 raw_images + 8 rejected_images = 56 files under the input",
        "all data is on this machine",
    ]


def test_an_input_without_pictures_never_results_in_an_empty_table(
    copied: Path, tmp_path: Path, run: Run, digests: Digests, error_text: ErrorText
) -> None:
    folder = tmp_path / "junk"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    before = digests(copied)
    ops = {"ingest": {"max_rejected_share": 1.0}}
    result = run(copied, "raw_images+", source=folder, ops=ops, raise_on_error=False)
    assert not result.success
    assert "1 of 1 file under" in error_text(result)
    assert "TypeError" not in error_text(result)
    assert before.items() <= digests(copied).items()


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("pca_model", "n_components", 0),
        ("pca_model", "n_components", 1281),
        ("pca_model", "min_explained_variance", 0),
        ("pca_model", "min_explained_variance", 1.1),
        ("pca_model", "refit_share", 0),
        ("ingest", "max_rejected_share", 2),
        ("ingest", "max_rejected_share", -0.1),
        ("ingest", "max_bytes", 0),
        ("ingest", "max_pixels", 0),
        ("embedding_quality", "most_images", 0),
    ],
)
def test_a_value_out_of_range_in_the_run_config_is_refused_in_one_sentence(
    *, op: str, field: str, value: float, copied: Path, run: Run, digests: Digests
) -> None:
    before = digests(copied)
    select = "raw_images" if op == "ingest" else op
    result = run(copied, select, ops={op: {field: value}}, raise_on_error=False)
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    reason = event.step_failure_data.user_failure_data
    assert reason is not None
    assert re.match(rf"{field}={value}(\.0)?: input should be ", str(reason.description))
    assert digests(copied) == before


def test_an_unknown_field_in_the_run_config_is_refused_by_name(
    copied: Path, run: Run, digests: Digests
) -> None:
    before = digests(copied)
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "n_component"'):
        run(copied, "pca_model", ops={"pca_model": {"n_component": 10}})
    assert digests(copied) == before


def test_pca_of_a_single_picture_is_refused_and_its_features_stay(
    copied: Path,
    copy_pictures: Callable[..., Path],
    tmp_path: Path,
    run: Run,
    error_text: ErrorText,
) -> None:
    one = copy_pictures(tmp_path / "one", 1)
    result = run(copied, source=one, raise_on_error=False)
    assert "PCA needs at least 2 images to fit on, but there is 1" in error_text(result)
    assert "Add pictures to the input." in error_text(result)
    assert len(pq.read_table(copied / PREFIXES["pca_components"])) > 1


def test_downstream_assets_read_the_new_version_and_the_old_one_stays_readable(
    copied: Path, run: Run, current: Current, read: Read
) -> None:
    before = current(copied, "pca_components")
    run(copied, UPSTREAM["csv_export"], ops=WITH_3)
    versions = [read(copied, "pca_components", number)["pca"].to_pylist() for number in (0, 1)]
    assert [{len(row) for row in rows} for rows in versions] == [{50}, {3}]
    for file in before.locations:
        Path(file.path).unlink()
    run(copied, "csv_export")
    header = (copied / "Results_CSV" / "pca_components.csv").read_text().splitlines()[0]
    assert header.endswith("pca_0,pca_1,pca_2")
