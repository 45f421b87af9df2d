"""A person's data is erased whole, wherever it is and whenever the work was interrupted."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from fruits_assets import erasure_job
from fruits_assets.cli import erase as erase_command
from fruits_assets.cli.main import app
from fruits_assets.definitions import build_defs
from fruits_assets.erasure_job import JOB, require_no_run
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.pca.files import load_sums
from spark_src.pca.fit import load_current
from spark_src.pca.model import fit_sums
from spark_src.pca.sums import sum_files
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from spark_src.tables.registry import TABLES
from spark_src.tables.statistics import FeaturesStatistics, PcaModelStatistics, RawImagesStatistics
from tests.pipeline import tables_in

Run = Callable[..., dg.ExecuteInProcessResult]
Erase = Callable[..., dg.ExecuteInProcessResult]

SUBJECT, OTHER = "anna-7f3", "ben-22c"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STAGES = [(requests, "erase_inputs"), (requests, "erase_rows"), (proof, "prove")]


@pytest.fixture(scope="module")
def before(
    run: Run, copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Input and storage: pictures of two persons and others, a broken one, a run of all."""
    folder = tmp_path_factory.mktemp("erasure")
    source = copy_pictures(folder / "input", 80)
    (source / "Training").rename(source / "shop")  # without that split PCA is fitted on all
    every = sorted(source.rglob("*.jpg"))
    for number, picture in enumerate(every[:50]):
        target = source / "photos" / (SUBJECT if number < 40 else OTHER) / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.rename(target)
    for name in (SUBJECT, OTHER):  # both have this one, and each a broken one
        shutil.copy(every[60], source / "photos" / name / "shared.jpg")
        (source / "photos" / name / "broken.jpg").write_bytes(b"no picture")
    few = {"pca_model": {"n_components": 5}}
    run(folder / "data", "*", source=source, ops=few)
    return folder


@pytest.fixture(scope="session")
def copy(set_statistics: Callable[..., object]) -> Callable[[Path, Path], Path]:
    """Copy input and storage to where they are a test's own."""

    def copied(before: Path, folder: Path) -> Path:
        own = Path(shutil.copytree(before, folder))
        for asset in ("raw_images", "rejected_images"):
            set_statistics(own / "data", asset, input=source_in(own).uri)
        return own

    return copied


@pytest.fixture
def own(before: Path, tmp_path: Path, copy: Callable[[Path, Path], Path]) -> Path:
    """Input and storage of the test's own."""
    return copy(before, tmp_path / "own")


def source_in(folder: Path) -> Location:
    return Location.parse(str(folder / "input"))


def run_job(folder: Path, target: Target | None = None) -> dg.ExecuteInProcessResult:
    """Run the job, as `fruits erase` and Dagster's UI do."""
    if target is not None:
        requests.add(tables_in(folder / "data"), source_in(folder), target)
    settings = Settings(storage=str(folder / "data"), input=str(folder / "input"))
    job = build_defs(settings).resolve_job_def(JOB)
    return job.execute_in_process(run_config=QUIET, raise_on_error=False)


@pytest.fixture
def erase(own: Path, spark: SparkSession) -> Erase:
    """Run the job on what is the test's own."""
    assert spark.getActiveSession() is not None
    return lambda target=None: run_job(own, target)


@pytest.fixture(scope="module")
def erased(
    before: Path,
    spark: SparkSession,
    copy: Callable[[Path, Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dg.ExecuteInProcessResult]:
    """Input and storage after an erasure, with what a killed features run had left. To be read."""
    own = copy(before, tmp_path_factory.mktemp("erased") / "own")
    features = tables_in(own / "data").current("mobilenet_features")
    staged = own / "data" / PREFIXES["mobilenet_features"] / "_staged" / "fingerprint"
    staged.mkdir(parents=True)
    shutil.copy(features.locations[0].path, staged / "part-1.parquet")
    assert spark.getActiveSession() is not None
    result = run_job(own, Target.from_names(SUBJECT))
    assert result.success, error_of(result)
    return own, result


def paths_of(tables: Tables, asset: str) -> set[str]:
    files = tables.current(asset).locations
    return set(read_columns(files, ["path"])["path"].to_pylist()) if files else set()


def error_of(result: dg.ExecuteInProcessResult) -> str:
    events = result.filter_events(lambda event: event.is_step_failure)
    return "".join(event.step_failure_data.error.to_string() for event in events)  # type: ignore[union-attr]


def assert_erased(folder: Path) -> dict[str, Any]:
    """The receipt, once nothing of the person is found by means that are not the project's."""
    assert not (folder / "input" / "photos" / SUBJECT).exists()
    for file in (folder / "data").rglob("*"):
        assert SUBJECT not in str(file.relative_to(folder)), file
        assert SUBJECT.encode() not in (file.read_bytes() if file.is_file() else b""), file
        if file.suffix == ".parquet":
            texts = [c.name for c in pq.read_schema(file) if c.type in {"string", "large_string"}]
            assert SUBJECT not in str(pq.read_table(file, columns=texts).to_pylist()), file
    tables = tables_in(folder / "data")
    for asset in PREFIXES:  # no earlier version is left to go back to
        assert {commit.record.note[:7] for commit in tables.history(asset)} == {"erasure"}, asset
    for asset in TABLES:
        names = {file.name for file in tables.current(asset).files}
        assert {
            file.name for file in (folder / "data" / PREFIXES[asset]).glob("*.parquet")
        } == names
    [receipt] = (folder / "data" / "erasures").iterdir()
    return dict(json.loads(receipt.read_text()))


def assert_the_rest_is_whole(folder: Path, spark: SparkSession) -> None:
    tables = tables_in(folder / "data")
    features = tables.current("mobilenet_features")
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert tables.current(asset).statistics.rows == 41, asset
    for asset in ("raw_images", "mobilenet_features", "pca_components"):
        assert tables.current(asset).rows == 41, asset
    raw = tables.current("raw_images").typed(RawImagesStatistics)
    assert (raw.n_listed, raw.rejected, tables.current("rejected_images").rows) == (42, 1, 1)
    assert f"photos/{OTHER}/shared.jpg" in paths_of(tables, "mobilenet_features")
    csv = (tables.current("csv_export").location / "pca_components.csv").read().decode()
    assert csv.count("\n") == 42
    model = tables.current("pca_model")
    anew = sum_files(lambda: spark, features.locations, None)
    stored = load_sums(model.location / model.typed(PcaModelStatistics).sums).sums
    np.testing.assert_array_equal(stored.gram, anew.gram)
    fitted = fit_sums(anew, 5, features.typed(FeaturesStatistics).model_sha256)
    np.testing.assert_allclose(load_current(model).mean, fitted.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(load_current(model).components, fitted.components, atol=1e-9)


def test_every_trace_of_a_person_goes_and_everybody_else_stays(
    erased: tuple[Path, dg.ExecuteInProcessResult], spark: SparkSession
) -> None:
    receipt = assert_erased(erased[0])
    assert receipt["inputs"]["files"] == 42
    assert receipt["rows"]["raw_images"] == 41
    assert receipt["rows"]["rejected_images"] == 1
    assert receipt["scan"]["hits"] == 0
    assert (receipt["pictures"], receipt["pictures_of_others_too"]) == (41, 1)
    assert SUBJECT not in json.dumps(receipt)
    assert_the_rest_is_whole(erased[0], spark)


def test_dagster_is_told_of_the_new_versions_and_nothing_of_the_person(
    erased: tuple[Path, dg.ExecuteInProcessResult], made: Callable[..., set[str]]
) -> None:
    assert made(erased[1]) == set(PREFIXES) - {"mobilenet_model"}
    assert SUBJECT not in str(erased[1].all_events)


def test_no_picture_of_others_is_featurized_again(
    erased: tuple[Path, dg.ExecuteInProcessResult],
) -> None:
    features = tables_in(erased[0] / "data").current("mobilenet_features")
    known = features.typed(FeaturesStatistics)
    assert (known.computed, known.carried_over) == (0, 41)


def test_the_answers_of_embedding_quality_are_those_of_the_pictures_that_are_left(
    erased: tuple[Path, dg.ExecuteInProcessResult],
) -> None:
    [answers] = (erased[0] / "data" / PREFIXES["embedding_quality"]).glob("*.json")
    assert json.loads(answers.read_text())["images"] == 41


@pytest.mark.parametrize(("module", "stage"), STAGES, ids=[stage for _, stage in STAGES])
def test_a_second_call_completes_what_was_interrupted(
    own: Path,
    erase: Erase,
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    stage: str,
) -> None:
    work = getattr(module, stage)

    def interrupted(*arguments: object) -> None:
        work(*arguments) if stage != "prove" else None
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, stage, interrupted)
    assert not erase(Target.from_names(SUBJECT)).success
    monkeypatch.setattr(module, stage, work)
    assert erase().success
    assert_erased(own)
    assert_the_rest_is_whole(own, spark)


def test_a_request_that_fails_does_not_hold_up_another(
    own: Path, erase: Erase, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = requests.erase_inputs

    def fails_for_the_other(tables: Tables, source: Location, request: requests.Request) -> int:
        if request.target.subject == OTHER:
            raise ErasureError("A file cannot be deleted.")
        return work(tables, source, request)

    monkeypatch.setattr(requests, "erase_inputs", fails_for_the_other)
    requests.add(tables_in(own / "data"), source_in(own), Target.from_names(OTHER))
    result = erase(Target.from_names(SUBJECT))
    assert "Not done: request" in error_of(result)
    assert not (own / "input" / "photos" / SUBJECT).exists()
    kinds = sorted(file.name[:8] for file in (own / "data" / "erasures").iterdir())
    assert kinds == ["pending-", "receipt-"]


def test_where_too_few_pictures_are_left_pca_is_deleted_with_its_downstream_assets(
    own: Path, erase: Erase
) -> None:
    tables = tables_in(own / "data")
    ids = read_columns(tables.current("raw_images").locations, ["image_id"])["image_id"]
    most = sorted(set(ids.to_pylist()))[:-3]
    assert erase(Target.from_names(None, most, all_owners=True)).success
    assert tables.current("mobilenet_features").rows == tables.current("raw_images").rows == 3
    for asset in PREFIXES.keys() - {*erasure_job.SOURCES, "mobilenet_model", "mobilenet_features"}:
        assert tables.find(asset) is None
        assert not (own / "data" / PREFIXES[asset]).exists()


def test_a_trace_that_is_left_is_named_and_gives_no_receipt(own: Path, erase: Erase) -> None:
    (own / "data" / "notes.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    (own / "input" / "notes-of-somebody.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    result = erase(Target.from_names(SUBJECT))
    assert not result.success
    assert "notes.txt; under the input in 1 of the files or names" in error_of(result)
    assert "somebody" not in error_of(result)
    assert [file.name[:8] for file in (own / "data" / "erasures").iterdir()] == ["pending-"]


def test_who_has_left_no_trace_gets_no_receipt(own: Path, erase: Erase) -> None:
    with pytest.raises(ErasureError, match="There is no trace of anna-7f4"):
        erase(Target.from_names("anna-7f4"))
    assert not (own / "data" / "erasures").exists()


def test_another_input_than_the_tables_were_made_from_is_refused(own: Path, sample: Path) -> None:
    elsewhere, mine = Location.parse(str(sample)), source_in(own)
    tables = tables_in(own / "data")
    with pytest.raises(ErasureError, match="their files would stay") as refused:
        requests.add(tables, elsewhere, Target.from_names(SUBJECT))
    assert mine.uri in str(refused.value)

    requests.add(tables, mine, Target.from_names(SUBJECT))
    [request] = requests.pending(tables)
    for stage in (requests.erase_inputs, proof.prove):
        with pytest.raises(ErasureError, match="their files would stay"):
            stage(tables, elsewhere, request)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def add_run(
    instance: dg.DagsterInstance,
    job: str,
    status: dg.DagsterRunStatus,
    assets: Sequence[str] = (),
    location: str = "fruits",
) -> str:
    """A run as the UI launches it."""
    target = LoadableTargetOrigin(module_name="fruits_assets.definitions")
    code_location = InProcessCodeLocationOrigin(target, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(code_location, "repository"), job)
    run_id = str(uuid.uuid4())
    selection = {dg.AssetKey(name) for name in assets} or None
    run = dg.DagsterRun(
        job, run_id, status=status, asset_selection=selection, remote_job_origin=origin
    )
    instance.add_run(run)
    return run_id


@pytest.mark.parametrize("status", erasure_job.IN_PROGRESS)
@pytest.mark.parametrize("assets", [(), ("raw_images", "of_another_team")])
def test_erasing_is_refused_while_a_run_is_queued_or_in_progress(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, assets: Sequence[str]
) -> None:
    run_id = add_run(instance, "__ASSET_JOB", status, assets)
    with pytest.raises(ErasureError, match=rf"{run_id[:8]} .*dagster run delete RUN_ID"):
        require_no_run(instance)


def test_runs_that_cannot_bring_anything_back_do_not_hold_it_up(
    instance: dg.DagsterInstance,
) -> None:
    started = dg.DagsterRunStatus.STARTED
    add_run(instance, JOB, started)
    add_run(instance, "__ASSET_JOB", dg.DagsterRunStatus.FAILURE)
    add_run(instance, "__ASSET_JOB", started, ["of_another_team"])
    add_run(instance, "nightly", started, location="another_team")
    require_no_run(instance)


@pytest.fixture
def fruits(
    own: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """The command `fruits`, with what is typed."""
    monkeypatch.setenv("FRUITS_STORAGE", str(own / "data"))
    monkeypatch.setenv("FRUITS_INPUT", str(own / "input"))
    assert spark.getActiveSession() is not None

    def call(*words: str, typed: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(app, words, input=typed)
        return done.exit_code, " ".join(done.output.split())

    return call


def test_a_dry_run_says_what_there_is_and_who_else_has_it(
    own: Path, fruits: Callable[..., tuple[int, str]]
) -> None:
    shutil.copytree(own / "input/photos" / OTHER, own / "input/photos" / SUBJECT.upper())
    code, text = fruits("erase", "--subject", SUBJECT, "--dry-run")
    assert code == 0
    for said in ("files under the input │ 42", "rows of raw_images │ 41", SUBJECT.upper()):
        assert said in text
    assert "somebody else has, too: theirs stay │ 1" in text
    assert (own / "input/photos" / SUBJECT / "1.jpg").exists()
    assert not (own / "data" / "erasures").exists()


def test_the_command_asks_for_the_name_again_and_prints_the_receipt(
    own: Path, fruits: Callable[..., tuple[int, str]]
) -> None:
    code, text = fruits("erase", "--subject", SUBJECT, typed="somebody\n")
    assert (code, "That is another name" in text) == (2, True)
    assert (own / "input/photos" / SUBJECT).exists()
    code, text = fruits("erase", "--subject", SUBJECT, typed=f"{SUBJECT}\n")
    assert code == 0, text
    assert "files deleted: 42, rows deleted: 42" in text
    assert "hits: 0" in text
    assert_erased(own)


def test_the_command_is_refused_while_a_run_is_in_progress(
    own: Path, fruits: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.get() as instance:
        run_id = add_run(instance, "__ASSET_JOB", dg.DagsterRunStatus.STARTED)
        code, text = fruits("erase", "--subject", SUBJECT, "--yes")
        assert code == 2
        assert f"in progress: {run_id[:8]} (STARTED)" in text
        assert not (own / "data" / "erasures").exists()
        instance.delete_run(run_id)
    monkeypatch.setattr(erase_command, "_run", lambda *_: None)
    assert fruits("erase", "--subject", SUBJECT, "--yes")[0] == 0
    assert len(requests.pending(tables_in(own / "data"))) == 1
