"""Concurrent or killed runs neither restore nor keep erased data. Without Dagster."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.files import walk
from spark_src.erasure.lookup import find
from spark_src.erasure.purge import fence, purge
from spark_src.erasure.rows import remove_rows
from spark_src.erasure.target import Target
from spark_src.errors import ConcurrentWriteError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import write_file
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import MOBILENET_FEATURES, RAW_IMAGES
from tests.pipeline import tables_in
from tests.spark_src.erasure_storage import (
    ANNA,
    Deployment,
    assert_no_trace,
    commit_all,
    erase,
    no_spark,
    statistics_of,
)

pytestmark = pytest.mark.state_machine


@pytest.mark.parametrize("asset", PREFIXES)
def test_a_run_that_began_before_an_erasure_is_refused_at_its_commit(
    empty_assets: Deployment, asset: str
) -> None:
    tables, _ = empty_assets
    inputs = [tables.current("raw_images")] if asset == "mobilenet_features" else []
    write = tables.begin(asset, "run-2", inputs)
    remove_rows(no_spark, tables, Target.from_names(ANNA), "erase-1")
    purge(tables, "erase-1")
    before = tables.current(asset)
    with pytest.raises(ConcurrentWriteError, match="run-2"):
        write.commit(statistics_of(asset))
    assert tables.current(asset).version == before.version
    assert before.record.note == "erasure"
    assert before.statistics.digest == statistics_of(asset).digest
    assert tables.begin(asset, "run-3").commit(statistics_of(asset)).version > before.version


@pytest.mark.parametrize("asset", ["raw_images", "rejected_images"])
def test_removing_rows_also_prevents_the_commit_of_an_earlier_run(
    empty_assets: Deployment, asset: str
) -> None:
    tables, _ = empty_assets
    write = tables.begin(asset, "run-2")
    remove_rows(no_spark, tables, Target.from_names(ANNA), "erase-1")
    with pytest.raises(ConcurrentWriteError):
        write.commit(statistics_of(asset))


def test_a_first_run_whose_inputs_an_erasure_changed_is_refused_at_its_commit(
    empty_assets: Deployment,
) -> None:
    tables, _ = empty_assets
    tables.delete("mobilenet_features")
    write = tables.begin("mobilenet_features", "run-2", [tables.current("raw_images")])
    remove_rows(no_spark, tables, Target.from_names(ANNA), "erase-1")
    with pytest.raises(ConcurrentWriteError, match="raw_images was changed"):
        write.commit(statistics_of("mobilenet_features"))
    assert tables.find("mobilenet_features") is None


@pytest.mark.parametrize("asset", PREFIXES)
def test_a_run_cannot_commit_to_an_asset_that_was_deleted_meanwhile(
    empty_assets: Deployment, asset: str
) -> None:
    tables, _ = empty_assets
    write = tables.begin(asset, "run-2")
    tables.delete(asset)
    with pytest.raises(ConcurrentWriteError):
        write.commit(statistics_of(asset))
    assert tables.find(asset) is None


def test_of_two_first_runs_the_second_is_refused(tmp_path: Path) -> None:
    tables = tables_in(tmp_path)
    writes = [tables.begin("rejected_images", f"run-{number}") for number in (1, 2)]
    writes[0].commit(statistics_of("rejected_images"))
    with pytest.raises(ConcurrentWriteError):
        writes[1].commit(statistics_of("rejected_images"))


def test_after_a_fence_unchanged_assets_are_still_recognised(empty_assets: Deployment) -> None:
    tables, _ = empty_assets
    fence(tables, "erase-1")
    for asset in ("pca_model", "pca_components", "csv_export"):
        inputs = tables.current(asset).record.inputs
        assert inputs == {name: tables.current(name).version for name in inputs}


def test_a_purge_keeps_current_versions_and_newer_files(empty_assets: Deployment) -> None:
    tables, _ = empty_assets
    root = Path(tables.root.path)
    left = [
        root / "raw_images" / "part-00000-old.parquet",
        root / "raw_images" / ".part-00000-half.parquet.1234",
        root / "Results" / "_staged" / "fingerprint" / "part-1.parquet",
        root / "Results_CSV" / "_staged" / "run-0" / "part-1.csv",
        root / "PCA_Model" / "0123456789abcdef" / "pca_model.parquet",
        root / "staging" / "run-0" / "events",
        root / "_scratch" / "another-machine-1" / "blockmgr-1" / "shuffle_0",
    ]
    code = root / "staging" / "code" / "fruits.zip"
    for file in (*left, code):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"photos/anna-7f3/1.jpg")
    assert purge(tables, "erase-1") >= len(left)
    assert not any(file.exists() for file in left)
    assert code.exists()
    for asset in PREFIXES:
        snapshot = tables.current(asset)
        assert len(tables.history(asset)) <= 2
        names = [file.path for file in snapshot.locations]
        names += [str(snapshot.location / name) for name in snapshot.statistics.files]
        assert all(Path(name).exists() for name in names), asset


def test_nothing_of_a_killed_first_run_is_left(tmp_path: Path) -> None:
    (tmp_path / "input" / "photos" / ANNA).mkdir(parents=True)
    tables, source = tables_in(tmp_path / "data"), Location.parse(str(tmp_path / "input"))
    folder = tables.prefix("raw_images")
    row = {"path": f"photos/{ANNA}/1.jpg", "image_id": "a" * 64}
    write_file([pa.Table.from_pylist([row], RAW_IMAGES)], folder, "part-1.parquet", RAW_IMAGES)
    found = find(tables, source, Target.from_names(ANNA))
    assert (found.uncommitted, found.image_ids) == (1, {"a" * 64})
    requests.add(tables, source, Target.from_names(ANNA))
    [request] = requests.pending(tables)
    requests.erase_inputs(tables, source, request)
    [request] = requests.pending(tables)
    assert requests.erase_rows(no_spark, tables, request, "erase-1")["raw_images"] == 0
    [request] = requests.pending(tables)
    purge(tables, "erase-1")
    receipt = json.loads(proof.prove(tables, source, request).read())
    assert receipt["scan"]["hits"] == 0
    assert [entry.path for entry in walk(folder)] == []
    assert not list(Path(source.path, "photos").iterdir())


def test_no_earlier_object_version_is_left_in_a_versioned_bucket(bucket: str) -> None:
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    root = Location.parse(f"s3://{bucket}")
    tables, source = commit_all(Tables(root / "data"), root / "input")
    for key in (f"photos/{ANNA}/1.jpg", f"photos/{ANNA}//2.jpg", "photos/other/1.jpg"):
        for _ in range(2):
            s3.put_object(Bucket=bucket, Key=f"input/{key}", Body=b"picture")
    row = {"path": f"photos/{ANNA}/1.jpg", "image_id": "a" * 64}
    killed = pa.Table.from_pylist([row], RAW_IMAGES)
    write_file([killed], tables.prefix("raw_images"), "part-1.parquet", RAW_IMAGES)
    odd = {"Bucket": bucket, "Key": "data/raw_images//part-2.parquet"}
    s3.put_object(**odd, Body=(tables.prefix("raw_images") / "part-1.parquet").read())
    assert find(tables, source, Target.from_names(ANNA)).uncommitted == 2
    late = tables.begin("raw_images", "run-2")
    erase(no_spark, (tables, source), Target.from_names(ANNA))
    with pytest.raises(ConcurrentWriteError):
        late.commit(statistics_of("raw_images"))
    listed = s3.list_object_versions(Bucket=bucket)
    assert "DeleteMarkers" not in listed
    stored = [item for item in listed["Versions"] if item["Key"].startswith("data/")]
    assert all(item["IsLatest"] for item in stored)
    for item in listed["Versions"]:
        assert ANNA not in item["Key"]
        body = s3.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])["Body"]
        assert ANNA.encode() not in body.read()
    others = [item["Key"] for item in listed["Versions"] if item["Key"].startswith("input/")]
    assert others == ["input/photos/other/1.jpg"] * 2
    assert tables.current("embedding_quality").record.note == "erasure"


def test_photos_in_files_that_a_killed_run_never_committed_are_found_and_deleted(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    row = pa.Table.from_pylist(
        [{"path": "photos/dora-5/1.png", "image_id": "d" * 64}], TABLES["raw_images"]
    )
    written = write_file([row], tables.prefix("raw_images"), "part-9.parquet", RAW_IMAGES)
    half = Path(tables.prefix("raw_images").path, f".{written.name}.12345678")
    half.write_bytes(Path(tables.prefix("raw_images").path, written.name).read_bytes()[:-40])
    staged = tables.prefix("mobilenet_features") / "_staged" / "fingerprint"
    features = pa.Table.from_pylist(
        [{"path": "photos/dora-5/2.png", "image_id": "e" * 64}], MOBILENET_FEATURES
    )
    write_file([features], staged, "part-1.parquet", MOBILENET_FEATURES)
    found = find(tables, source, Target.from_names("dora-5"))
    assert (sum(found.rows.values()), found.uncommitted) == (0, 2)
    receipt = erase(lambda: spark, deployment, Target.from_names("dora-5"))
    assert receipt["pictures"] == 2
    assert receipt["proof"]["purged_files"] >= 3
    assert_no_trace(deployment, "dora-5")


def test_data_in_any_other_file_counts_as_found(deployment: Deployment) -> None:
    tables, source = deployment
    staged = Path(tables.prefix("csv_export").path, "_staged", "run-0", "part-0.csv")
    staged.parent.mkdir(parents=True)
    staged.write_text('image_id,path\n1,"photos/d""ora/1.png"\n')
    assert find(tables, source, Target.from_names('d"ora')).other_files == 1


def test_an_uncommitted_file_that_is_not_parquet_does_not_block_an_erasure(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, _ = deployment
    Path(tables.prefix("raw_images").path, "part-broken.parquet").write_bytes(b"PAR1 nothing")
    assert erase(lambda: spark, deployment, Target.from_names(ANNA))["scan"]["hits"] == 0
