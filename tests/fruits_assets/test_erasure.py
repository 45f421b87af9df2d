"""A person's pictures are forgotten whole, wherever they are and whenever it was interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from fruits_assets.definitions import build_defs
from fruits_assets.erasure import JOB
from fruits_assets.settings import Settings
from spark_src.erasure import requests as erasure_requests
from spark_src.erasure.rows import Target, find
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.pca.fit import fit_version
from spark_src.storage import PREFIXES, Storage, Version

Run = Callable[..., dg.ExecuteInProcessResult]
Erase = Callable[..., dg.ExecuteInProcessResult]

SUBJECT, OTHER = "anna-7f3", "ben-22c"
STAGES = ("erase_inputs", "erase_rows", "prove")


@pytest.fixture(scope="module")
def before(
    run: Run, copy_pictures: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Input and storage: pictures of two persons and others, a broken one, two runs of all."""
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
    few = {"pca": {"n_components": 5}}
    for selection in ("*", "raw_images*"):
        run(folder / "data", selection, source=source, ops=few)
    return folder


@pytest.fixture
def own(before: Path, tmp_path: Path) -> Path:
    """Input and storage of the test's own."""
    own = Path(shutil.copytree(before, tmp_path / "own"))
    for pointer in (own / "data").glob("*/current.json"):
        pointer.write_text(pointer.read_text().replace(str(before), str(own)))
    return own


def versions_in(folder: Path) -> Storage:
    return Storage(Location.parse(str(folder / "data")))


@pytest.fixture
def erase(own: Path, spark: SparkSession) -> Erase:
    """Run the job, as `fruits erase` and Dagster's UI do."""

    def execute(target: Target | None = None) -> dg.ExecuteInProcessResult:
        assert spark.getActiveSession() is not None
        if target is not None:
            source = Location.parse(str(own / "input"))
            erasure_requests.add(versions_in(own), source, target)
        settings = Settings(storage=str(own / "data"), input=str(own / "input"))
        job = build_defs(settings).resolve_job_def(JOB)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return job.execute_in_process(run_config=quiet, raise_on_error=False)

    return execute


def paths_of(version: Version) -> set[str]:
    return set(pq.read_table(version.location.path, columns=["path"])["path"].to_pylist())


def assert_forgotten(folder: Path) -> dict[str, object]:
    """The receipt, once nothing of the person is found by means that are not the project's."""
    storage, prefix = versions_in(folder), f"photos/{SUBJECT}/"
    assert not (folder / "input" / "photos" / SUBJECT).exists()
    tables = ("raw_images", "rejected_images", "mobilenet_features", "pca_components")
    for asset in tables:
        assert not any(path.startswith(prefix) for path in paths_of(storage.current(asset)))
        assert len(list((folder / "data" / PREFIXES[asset] / "versions").iterdir())) == 1
    csv = (storage.current("csv_export").location / "pca_components.csv").read()
    assert SUBJECT.encode() not in csv
    for file in (folder / "data").rglob("*"):
        assert SUBJECT.encode() not in (file.read_bytes() if file.is_file() else b""), file
    [receipt] = (folder / "data" / "erasures").iterdir()
    return dict(json.loads(receipt.read_text()))


def assert_the_rest_is_whole(folder: Path, spark: SparkSession) -> None:
    storage = versions_in(folder)
    features = storage.current("mobilenet_features")
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert storage.current(asset).rows == 41, asset
    assert storage.current("rejected_images").rows == 1
    assert f"photos/{OTHER}/shared.jpg" in paths_of(features)
    model = storage.current("pca_model")
    anew = fit_version(spark, features, 5, 0.9).model
    ours = np.array(pq.read_table(model.location.path + "/pca_model.parquet")["mean"][0].as_py())
    np.testing.assert_allclose(ours, anew.mean, rtol=0, atol=1e-9)


def test_every_trace_of_a_person_goes_and_everybody_else_stays(
    own: Path, erase: Erase, spark: SparkSession
) -> None:
    result = erase(Target.of(SUBJECT))
    assert result.success
    receipt = assert_forgotten(own)
    assert receipt["inputs"]["files"] == 42  # type: ignore[index]
    assert receipt["rows"]["raw_images"] == 41  # type: ignore[index]
    assert receipt["rows"]["rejected_images"] == 1  # type: ignore[index]
    assert receipt["scan"]["hits"] == 0  # type: ignore[index]
    assert SUBJECT not in json.dumps(receipt)
    assert_the_rest_is_whole(own, spark)
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert made == set(PREFIXES) - {"mobilenet_model", "embedding_quality"}


def test_no_picture_of_others_is_featurized_again(own: Path, erase: Erase) -> None:
    assert erase(Target.of(SUBJECT)).success
    facts = versions_in(own).current("mobilenet_features").facts
    assert (facts["featurized"], facts["carried_over"]) == (0, 41)


@pytest.mark.parametrize("stage", STAGES)
def test_a_second_call_completes_what_was_interrupted(
    own: Path, erase: Erase, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    work = getattr(erasure_requests, stage)

    def interrupted(*arguments: object) -> None:
        work(*arguments) if stage != "prove" else None
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(erasure_requests, stage, interrupted)
    assert not erase(Target.of(SUBJECT)).success
    monkeypatch.setattr(erasure_requests, stage, work)
    assert erase().success
    assert_forgotten(own)
    assert_the_rest_is_whole(own, spark)


def test_what_an_interrupted_features_run_had_done_goes_too(own: Path, erase: Erase) -> None:
    parts = own / "data" / "Results" / "parts" / "recipe"
    parts.mkdir(parents=True)
    features = versions_in(own).current("mobilenet_features")
    shutil.copy(f"{features.location.path}/part-00000.parquet", parts / "part-1.parquet")
    assert erase(Target.of(SUBJECT)).success
    assert not parts.parent.exists()


def test_a_subject_is_found_where_nothing_was_ever_rejected(stored: Path, sample: Path) -> None:
    found = find(Storage(Location.parse(str(stored))), Location.parse(str(sample)), Target.of("x"))
    assert found.inputs == []
    assert set(found.rows.values()) == {0}


def test_single_pictures_are_forgotten_by_their_ids(own: Path, erase: Erase) -> None:
    raw = pq.read_table(versions_in(own).current("raw_images").location.path)
    shared = next(row for row in raw.to_pylist() if row["path"] == f"photos/{OTHER}/shared.jpg")
    assert erase(Target.of(None, [shared["image_id"]])).success
    left = paths_of(versions_in(own).current("pca_components"))
    assert left == set(raw["path"].to_pylist()) - {
        row["path"] for row in raw.to_pylist() if row["image_id"] == shared["image_id"]
    }
    assert not (own / "input" / "photos" / OTHER / "shared.jpg").exists()


def test_where_too_few_pictures_are_left_pca_is_deleted_with_what_follows(
    own: Path, erase: Erase
) -> None:
    storage = versions_in(own)
    raw = pq.read_table(storage.current("raw_images").location.path)
    ids = sorted(set(raw["image_id"].to_pylist()))[:-3]
    assert erase(Target.of(None, ids)).success
    assert storage.find("pca_model") is None
    assert storage.find("csv_export") is None


def test_a_trace_that_is_left_is_named_and_gives_no_receipt(own: Path, erase: Erase) -> None:
    (own / "data" / "notes.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    result = erase(Target.of(SUBJECT))
    assert not result.success
    errors = [e.step_failure_data.error for e in result.filter_events(lambda e: e.is_step_failure)]
    assert "notes.txt" in errors[0].to_string()  # type: ignore[union-attr]
    assert [file.name[:8] for file in (own / "data" / "erasures").iterdir()] == ["pending-"]


@pytest.mark.parametrize("subject", ["", "..", "a/b"])
def test_what_is_no_subject_is_refused(subject: str) -> None:
    with pytest.raises(ErasureError):
        Target.of(subject)


def test_what_is_no_image_id_is_refused() -> None:
    with pytest.raises(ErasureError, match="is no image id"):
        Target.of(None, ["photos/anna/1.jpg"])


def test_who_has_left_no_trace_gets_no_receipt(own: Path, erase: Erase) -> None:
    with pytest.raises(ErasureError, match="There is no trace of anna-7f4"):
        erase(Target.of("anna-7f4"))
    assert not (own / "data" / "erasures").exists()


def test_another_input_than_the_tables_were_made_from_is_refused(own: Path, sample: Path) -> None:
    elsewhere, mine = Location.parse(str(sample)), Location.parse(str(own / "input"))
    with pytest.raises(ErasureError, match="their files would stay") as refused:
        erasure_requests.add(versions_in(own), elsewhere, Target.of(SUBJECT))
    assert mine.uri in str(refused.value)

    erasure_requests.add(versions_in(own), mine, Target.of(SUBJECT))
    [request] = erasure_requests.pending(versions_in(own))
    for stage in (erasure_requests.erase_inputs, erasure_requests.prove):
        with pytest.raises(ErasureError, match="their files would stay"):
            stage(versions_in(own), elsewhere, request)
