"""A person's data is erased completely, wherever it is, and even after interruptions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from fruits_assets.erasure_downstream import SOURCES
from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests, scan
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from spark_src.tables.statistics import FeaturesStatistics
from tests.fruits_assets.erasure.pipeline import (
    OTHER,
    SUBJECT,
    Erase,
    assert_erased,
    assert_the_rest_is_whole,
    error_of,
    source_in,
)
from tests.pipeline import tables_in

STAGES = [(requests, "erase_inputs"), (requests, "erase_rows"), (proof, "prove")]


def test_all_data_of_a_person_is_erased_and_of_nobody_else(
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


def test_the_new_versions_are_reported_to_dagster_without_the_person(
    erased: tuple[Path, dg.ExecuteInProcessResult], made: Callable[..., set[str]]
) -> None:
    assert made(erased[1]) == set(PREFIXES) - {"mobilenet_model"}
    assert SUBJECT not in str(erased[1].all_events)


def test_features_of_other_pictures_are_not_recomputed(
    erased: tuple[Path, dg.ExecuteInProcessResult],
) -> None:
    features = tables_in(erased[0] / "data").current("mobilenet_features")
    known = features.typed(FeaturesStatistics)
    assert (known.computed, known.carried_over) == (0, 41)


def test_embedding_quality_is_recomputed_from_the_remaining_pictures(
    erased: tuple[Path, dg.ExecuteInProcessResult],
) -> None:
    [answers] = (erased[0] / "data" / PREFIXES["embedding_quality"]).glob("*.json")
    assert json.loads(answers.read_text())["images"] == 41


@pytest.mark.parametrize(("module", "stage"), STAGES, ids=[stage for _, stage in STAGES])
def test_a_second_call_completes_an_interrupted_erasure(
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


def test_a_failed_request_does_not_block_another(
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
    assert "Not completed: request" in error_of(result)
    assert not (own / "input" / "photos" / SUBJECT).exists()
    kinds = sorted(file.name[:8] for file in (own / "data" / "erasures").glob("*.json"))
    assert kinds == ["pending-", "receipt-"]


def test_with_too_few_remaining_pictures_pca_and_its_downstream_assets_are_deleted(
    own: Path, erase: Erase
) -> None:
    tables = tables_in(own / "data")
    ids = read_columns(tables.current("raw_images").locations, ["image_id"])["image_id"]
    most = sorted(set(ids.to_pylist()))[:-1]
    assert erase(Target.from_names(None, most, all_owners=True)).success
    assert tables.current("mobilenet_features").rows == tables.current("raw_images").rows == 1
    for asset in PREFIXES.keys() - {*SOURCES, "mobilenet_model", "mobilenet_features"}:
        assert tables.find(asset) is None
        assert not (own / "data" / PREFIXES[asset]).exists()


def test_remaining_data_is_reported_and_no_receipt_is_written(own: Path, erase: Erase) -> None:
    (own / "data" / "notes.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    (own / "input" / "notes-of-somebody.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    result = erase(Target.from_names(SUBJECT))
    assert not result.success
    assert "notes.txt; under the input in 1 of the files or names" in error_of(result)
    assert "somebody" not in error_of(result)
    assert [file.name[:8] for file in (own / "data" / "erasures").iterdir()] == ["pending-"]


def test_unreadable_records_of_dagster_prevent_a_receipt(tmp_path: Path) -> None:
    tables, source = tables_in(tmp_path / "data"), Location.parse(str(tmp_path / "input"))
    (tmp_path / "input" / "photos" / SUBJECT).mkdir(parents=True)
    requests.add(tables, source, Target.from_names(SUBJECT))
    [request] = requests.pending(tables)
    unreadable = scan.Scan(unreadable=("/home/.dagster/logs/event.log",))
    found = proof.ProofScan(scan.Scan(), scan.Scan(), unreadable, 0)
    with pytest.raises(ErasureError, match=r"cannot be opened.*event\.log"):
        proof.prove(tables, source, request, None, found)


def test_records_that_still_name_the_person_are_listed(erase: Erase) -> None:
    home = Path(os.environ["DAGSTER_HOME"])
    (home / "notes.txt").write_text(f"seen in photos/{SUBJECT}/1.jpg")
    result = erase(Target.from_names(SUBJECT), dg.DagsterInstance.get())
    assert str(home / "notes.txt") in error_of(result)


def test_a_person_without_data_gets_no_receipt(own: Path, erase: Erase) -> None:
    with pytest.raises(ErasureError, match="There is no trace of anna-7f4"):
        erase(Target.from_names("anna-7f4"))
    assert not (own / "data" / "erasures").exists()


def test_an_input_that_does_not_match_the_tables_is_refused(own: Path, sample: Path) -> None:
    elsewhere, mine = Location.parse(str(sample)), source_in(own)
    tables = tables_in(own / "data")
    with pytest.raises(ErasureError, match="their files would not be deleted") as refused:
        requests.add(tables, elsewhere, Target.from_names(SUBJECT))
    assert mine.uri in str(refused.value)

    requests.add(tables, mine, Target.from_names(SUBJECT))
    [request] = requests.pending(tables)
    for stage in (requests.erase_inputs, proof.prove):
        with pytest.raises(ErasureError, match="their files would not be deleted"):
            stage(tables, elsewhere, request)
