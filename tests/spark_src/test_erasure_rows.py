"""A person's rows and files go whatever was running, and nobody else's do. Without Dagster."""

from __future__ import annotations

import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.files import walk
from spark_src.erasure.lookup import find
from spark_src.erasure.purge import fence, purge
from spark_src.erasure.rows import remove_rows
from spark_src.erasure.target import Target
from spark_src.errors import ConcurrentWriteError, ErasureError
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import fingerprint_of
from spark_src.images.preprocess import PIXELS
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.pca import fit
from spark_src.pca.files import load_sums
from spark_src.pca.model import fit_sums
from spark_src.pca.refit import FitSettings
from spark_src.pca.sums import sum_files
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.audit import vector_statistics
from spark_src.tables.delta import Snapshot, Tables, is_table
from spark_src.tables.parquet import read_columns, write_file, write_whole
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES, RAW_IMAGES
from spark_src.tables.statistics import (
    ClassifierStatistics,
    ComponentsStatistics,
    CsvStatistics,
    FeaturesStatistics,
    HealthStatistics,
    LabelIssuesStatistics,
    MobilenetModelStatistics,
    PcaModelStatistics,
    QualityStatistics,
    RawImagesStatistics,
    RejectedImagesStatistics,
    Statistics,
    VectorStatistics,
)
from spark_src.tables.vectors import FEATURES, float_lists
from tests.pipeline import featurize, ingest, tables_in

ANNA, BEN = "anna-7f3", "ben-22c"
MODEL = MobilenetModel(b"a model", "weights", 1.0, 0.0)
SETTINGS = FitSettings(n_components=5)

Work = tuple[Tables, Location]


def statistics_of(asset: str) -> Statistics:
    """What a commit of an asset without rows could say."""
    digest, files = f"{asset}-1", () if is_table(asset) else (f"{asset}.bin",)
    common = {"digest": digest, "files": files}
    made: dict[str, Statistics] = {
        "raw_images": RawImagesStatistics(
            digest="0", input="file:///input", fingerprint="f", n_listed=0, rejected=0
        ),
        "rejected_images": RejectedImagesStatistics(
            digest=digest, input="file:///input", fingerprint="f"
        ),
        "mobilenet_model": MobilenetModelStatistics(
            **common,
            sha256="s",
            weights_sha256="w",
            converter="c",
            input_size=224,
            width_multiplier=1,
            greatest_difference=0,
        ),
        "mobilenet_features": FeaturesStatistics(
            digest=digest, model_sha256="s", preprocessing=PIXELS, vectors=VectorStatistics()
        ),
        "pca_model": PcaModelStatistics(
            **common,
            n_components=5,
            n_images=9,
            model_sha256="s",
            explained_variance=1,
            explained_variance_today=1,
            n_images_today=9,
            min_explained_variance=0.9,
            components_for={},
            fit_split=None,
            sums="s",
            fitted_sums="s",
            n_new_images=0,
            description="",
        ),
        "pca_components": ComponentsStatistics(
            digest=digest,
            pca_model="p",
            model_sha256="s",
            n_components=5,
            vectors=VectorStatistics(),
        ),
        "csv_export": CsvStatistics(**common, n_components=5),
        "embedding_quality": QualityStatistics(**common, compared=9),
        "data_health": HealthStatistics(
            **common,
            whitening="w",
            version="1",
            threshold=0.5,
            images=9,
            compared=9,
            exact_duplicates=0,
            near_duplicates=0,
            groups=0,
        ),
        "fruit_classifier": ClassifierStatistics(
            **common,
            model_sha256="s",
            pca_model="p",
            version="1",
            classes=2,
            images=9,
            files_read=1,
            model_bytes=1,
            temperature=1,
        ),
        "label_issues": LabelIssuesStatistics(**common, labelled=9, issues=0),
    }
    return made[asset]


@pytest.fixture
def bare(tmp_path: Path) -> Work:
    """Every asset, committed without rows, and an empty input."""
    (tmp_path / "input").mkdir()
    return commit_all(tables_in(tmp_path / "data"), Location.parse(str(tmp_path / "input")))


def commit_all(tables: Tables, source: Location) -> Work:
    before: list[Snapshot] = []
    for asset in PREFIXES:
        write = tables.begin(asset, "run-1", before)
        statistics = statistics_of(asset)
        if asset in {"raw_images", "rejected_images"}:
            statistics = statistics.model_copy(update={"input": source.uri})
        if is_table(asset):
            before.append(write.commit(statistics))
        else:
            write_whole(write.location / f"{asset}.bin", b"content")
            before.append(commit_artifact(write, statistics))
    return tables, source


def no_spark() -> SparkSession:
    raise AssertionError("Spark was started")


@pytest.mark.parametrize("asset", PREFIXES)
def test_a_run_that_began_before_an_erasure_is_refused_at_its_commit(
    bare: Work, asset: str
) -> None:
    tables, _ = bare
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
def test_taking_rows_out_alone_refuses_it_too(bare: Work, asset: str) -> None:
    tables, _ = bare
    write = tables.begin(asset, "run-2")
    remove_rows(no_spark, tables, Target.from_names(ANNA), "erase-1")
    with pytest.raises(ConcurrentWriteError):
        write.commit(statistics_of(asset))


def test_a_first_run_whose_inputs_an_erasure_changed_is_refused_at_its_commit(bare: Work) -> None:
    tables, _ = bare
    tables.delete("mobilenet_features")
    write = tables.begin("mobilenet_features", "run-2", [tables.current("raw_images")])
    remove_rows(no_spark, tables, Target.from_names(ANNA), "erase-1")
    with pytest.raises(ConcurrentWriteError, match="raw_images was changed"):
        write.commit(statistics_of("mobilenet_features"))
    assert tables.find("mobilenet_features") is None


@pytest.mark.parametrize("asset", PREFIXES)
def test_a_run_cannot_commit_to_an_asset_that_was_deleted_meanwhile(bare: Work, asset: str) -> None:
    tables, _ = bare
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


def test_after_a_fence_what_is_unchanged_is_still_known_to_be_so(bare: Work) -> None:
    tables, _ = bare
    fence(tables, "erase-1")
    for asset in ("pca_model", "pca_components", "csv_export"):
        inputs = tables.current(asset).record.inputs
        assert inputs == {name: tables.current(name).version for name in inputs}


def test_a_purge_leaves_current_versions_and_what_is_newer(bare: Work) -> None:
    tables, _ = bare
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


def test_of_a_first_run_that_was_killed_nothing_stays(tmp_path: Path) -> None:
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


def test_in_a_versioned_bucket_no_version_of_anything_stays(bucket: str) -> None:
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


def picture(number: int) -> bytes:
    """A small picture unlike all others."""
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture(number))


def make_features(tables: Tables, images: Snapshot) -> Snapshot:
    """Features that a picture's id decides, in files named as the pipeline names them."""
    write = tables.begin("mobilenet_features", "run-1", [images])
    new = []
    for location in images.locations:
        rows = pq.read_table(location.path, columns=[*KEYS, "orientation"])
        seeds = [int(name[:8], 16) for name in rows["image_id"].to_pylist()]
        vectors = np.stack([np.random.default_rng(seed).random(FEATURES) for seed in seeds])
        rows = rows.append_column("features", float_lists(vectors.astype(np.float32)))
        rows = rows.append_column("model_sha256", pa.array([MODEL.sha256] * rows.num_rows))
        name = f"{location.name[:-8]}.{fingerprint_of(MODEL.sha256)}.parquet"
        new.append(
            write_file([rows.cast(MOBILENET_FEATURES)], write.folder, name, MOBILENET_FEATURES)
        )
    known = images.typed(RawImagesStatistics)
    statistics = FeaturesStatistics(
        digest="1",
        rows=images.rows,
        model_sha256=MODEL.sha256,
        preprocessing=PIXELS,
        vectors=vector_statistics(rows["features"].combine_chunks()),
        splits=known.splits,
    )
    return write.commit(statistics, new)


def make_pca(spark: SparkSession, tables: Tables, erased: bool = False) -> Snapshot:
    features = tables.current("mobilenet_features")
    write = tables.begin("pca_model", "run-1", [features])
    found = fit.fit_or_keep(lambda: spark, features, write.before, SETTINGS, erased)
    sums = fit.save(lambda: spark, found, write, features)
    return commit_artifact(write, fit.statistics(found, sums, write.before, SETTINGS))


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two persons and others, in tables; PCA of made-up features."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "input"
    for number in range(60):
        owner = "shop/Apple" if number < 30 else f"photos/{ANNA if number < 45 else BEN}/Apple"
        write_picture(source / owner / f"{number}.png", number)
    for owner in (ANNA, BEN):  # both have this one, and each a broken one
        write_picture(source / "photos" / owner / "shared.png", 99)
        (source / "photos" / owner / "broken.jpg").write_bytes(b"no picture")
    tables = tables_in(folder / "data")
    make_features(tables, ingest(spark, tables, source).raw)
    make_pca(spark, tables)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path, spark: SparkSession) -> Work:
    """A copy of the test's own."""
    folder = Path(shutil.copytree(made, tmp_path / "own"))
    tables, source = tables_in(folder / "data"), Location.parse(str(folder / "input"))
    for asset in ("raw_images", "rejected_images"):
        write = tables.begin(asset, "moved")
        assert write.before is not None
        write.commit(write.before.statistics.model_copy(update={"input": source.uri}))
    assert spark.getActiveSession() is not None
    return tables, source


def paths_in(tables: Tables, asset: str) -> set[str]:
    files = tables.current(asset).locations
    return set(read_columns(files, ["path"])["path"].to_pylist()) if files else set()


def erase(spark: Callable[[], SparkSession], work: Work, target: Target) -> dict[str, Any]:
    """What the job does, without what is made of the features."""
    tables, source = work
    requests.add(tables, source, target)
    for request in requests.pending(tables):
        requests.erase_inputs(tables, source, request)
    for request in requests.pending(tables):
        requests.erase_rows(spark, tables, request, "erase-1")
    if tables.current("raw_images").rows:
        featurize(spark(), tables, tables.current("raw_images"), MODEL, run_id="erase-1")
    deleted = purge(tables, "erase-1")
    [request] = requests.pending(tables)
    receipt = proof.prove(tables, source, request, deleted)
    requests.require_all_done(tables)
    return dict(json.loads(receipt.read()))


def assert_nothing_says(work: Work, text: str) -> None:
    """By means that are not the project's: names, bytes, and columns of Parquet."""
    for root in work:
        tables = Path(root.root.path) if isinstance(root, Tables) else Path(root.path)
        for file in tables.rglob("*"):
            assert text not in str(file.relative_to(tables)), file
            if not file.is_file():
                continue
            assert text.encode() not in file.read_bytes(), file
            if file.suffix == ".parquet":
                assert text not in str(pq.read_table(file).to_pylist()), file


def test_rows_and_files_of_a_person_go_and_everybody_elses_stay(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    others = {path for path in paths_in(tables, "raw_images") if ANNA not in path}
    receipt = erase(lambda: spark, own, Target.from_names(ANNA))
    assert_nothing_says(own, ANNA)
    assert receipt["inputs"]["files"] == 17
    assert receipt["rows"]["raw_images"] == 16
    assert receipt["rows"]["rejected_images"] == 1
    assert (receipt["pictures"], receipt["pictures_of_others_too"]) == (16, 1)
    assert receipt["scan"]["hits"] == 0
    assert paths_in(tables, "raw_images") == paths_in(tables, "mobilenet_features") == others
    assert paths_in(tables, "rejected_images") == {f"photos/{BEN}/broken.jpg"}
    features = tables.current("mobilenet_features").typed(FeaturesStatistics)
    assert (features.computed, features.carried_over) == (0, 46)
    assert {path.name for path in Path(source.path, "photos").iterdir()} == {BEN}


def test_what_is_left_is_described_as_if_it_had_been_ingested_alone(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    erase(lambda: spark, own, Target.from_names(ANNA))
    again = ingest(spark, tables, source, run_id="run-2")
    assert again.unchanged
    fresh = ingest(spark, tables_in(Path(source.path).parent / "fresh"), source)
    changing = {"seconds", "measured", "n_read"}
    for kept, made_anew in ((again.raw, fresh.raw), (again.rejected, fresh.rejected)):
        assert kept.statistics.model_dump(exclude=changing) == made_anew.statistics.model_dump(
            exclude=changing
        )


def test_sums_and_pca_are_those_of_a_fit_without_the_person(own: Work, spark: SparkSession) -> None:
    tables, _ = own
    remove_rows(lambda: spark, tables, Target.from_names(ANNA), "erase-1")
    features = featurize(spark, tables, tables.current("raw_images"), MODEL)[1]
    model = make_pca(spark, tables, erased=True)
    known = model.typed(PcaModelStatistics)
    assert "erased" in known.description
    assert known.n_images == known.n_images_today == 46
    anew = sum_files(lambda: spark, features.locations, None)
    stored = load_sums(model.location / known.sums)
    assert stored.files == {file.name for file in features.files}
    np.testing.assert_array_equal(stored.sums.gram, anew.gram)
    np.testing.assert_array_equal(stored.sums.total, anew.total)
    ours, theirs = fit.load_current(model), fit_sums(anew, 5, MODEL.sha256)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.components, theirs.components, rtol=0, atol=1e-9)


def test_a_file_that_held_nothing_of_the_person_is_not_written_again(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    write_picture(Path(source.path, "photos", "clara-1", "1.png"), 1000)
    ingest(spark, tables, source, run_id="run-2")
    before = {file.name for file in tables.current("raw_images").files}
    remove_rows(lambda: spark, tables, Target.from_names("clara-1"), "erase-1")
    after = {file.name for file in tables.current("raw_images").files}
    assert after < before
    assert len(before - after) == 1


def test_photos_in_files_that_a_killed_run_never_committed_are_found_and_deleted(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
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
    receipt = erase(lambda: spark, own, Target.from_names("dora-5"))
    assert receipt["pictures"] == 2
    assert receipt["proof"]["purged_files"] >= 3
    assert_nothing_says(own, "dora-5")


def test_a_trace_in_any_other_file_is_no_lack_of_traces(own: Work) -> None:
    tables, source = own
    staged = Path(tables.prefix("csv_export").path, "_staged", "run-0", "part-0.csv")
    staged.parent.mkdir(parents=True)
    staged.write_text('image_id,path\n1,"photos/d""ora/1.png"\n')
    assert find(tables, source, Target.from_names('d"ora')).other_files == 1


def test_an_uncommitted_file_that_is_no_parquet_does_not_hold_anybody_up(
    own: Work, spark: SparkSession
) -> None:
    tables, _ = own
    Path(tables.prefix("raw_images").path, "part-broken.parquet").write_bytes(b"PAR1 nothing")
    assert erase(lambda: spark, own, Target.from_names(ANNA))["scan"]["hits"] == 0


def test_one_request_that_cannot_be_read_does_not_hold_up_another(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    broken = Path(tables.root.path, "erasures", "pending-broken.json")
    broken.parent.mkdir()
    broken.write_text("{")
    with pytest.raises(ErasureError, match=r"pending-broken\.json is no request that can be read"):
        erase(lambda: spark, own, Target.from_names(ANNA))
    broken.unlink()
    requests.require_all_done(tables)
    assert_nothing_says(own, ANNA)
    assert not Path(source.path, "photos", ANNA).exists()


def test_a_picture_that_several_supplied_goes_by_its_id_only_when_that_is_asked_for(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    keys = read_columns(tables.current("raw_images").locations, ["path", "image_id"]).to_pylist()
    [shared] = {key["image_id"] for key in keys if key["path"].endswith("shared.png")}
    with pytest.raises(ErasureError, match="more than one person"):
        requests.add(tables, source, Target.from_names(None, [shared]))
    erase(lambda: spark, own, Target.from_names(None, [shared], all_owners=True))
    assert_nothing_says(own, shared)
    assert not list(Path(source.path).rglob("shared.png"))
    assert len(paths_in(tables, "raw_images")) == 60
    [alone] = {key["image_id"] for key in keys if key["path"] == "shop/Apple/1.png"}
    erase(lambda: spark, own, Target.from_names(None, [alone]))
    assert not Path(source.path, "shop/Apple/1.png").exists()
    assert Path(source.path, "shop/Apple/11.png").exists()


NFD = unicodedata.normalize("NFD", "josé")
"""Looks like `josé`, and is another name on Linux."""


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (f"photos/{NFD}", "josé"),
        ("photos/Anna-7F3x", "anna-7f3x"),
        ("photos/anna-7f3x ", "anna-7f3x"),
        ("Photos/anna-7f3x", "anna-7f3x"),
    ],
)
def test_a_name_that_is_nearly_a_persons_is_listed_and_refused(
    own: Work, there: str, asked: str
) -> None:
    tables, source = own
    write_picture(Path(source.path, there, "1.png"), 1)
    with pytest.raises(ErasureError, match="nearly that name") as refused:
        requests.add(tables, source, Target.from_names(asked))
    assert repr(there) in str(refused.value)
    assert not requests.pending(tables)
    assert Path(source.path, there, "1.png").exists()


def test_a_name_that_is_nearly_a_persons_in_the_tables_alone_is_refused_too(
    own: Work, spark: SparkSession
) -> None:
    tables, source = own
    write_picture(Path(source.path, "photos", "josé", "1.png"), 1)
    ingest(spark, tables, source, run_id="run-2")
    Path(source.path, "photos", "josé").rename(Path(source.path, "photos", NFD))
    with pytest.raises(ErasureError, match="in two ways"):
        requests.add(tables, source, Target.from_names(NFD))
    with pytest.raises(ErasureError, match="in two ways"):
        requests.add(tables, source, Target.from_names("josé"))
    ingest(spark, tables, source, run_id="run-3")
    requests.add(tables, source, Target.from_names(NFD))


@pytest.mark.parametrize("there", ["eva-9", "backup/eva-9", "photos/ben-22c/eva-9"])
def test_a_folder_of_that_name_anywhere_else_is_reported(own: Work, there: str) -> None:
    tables, source = own
    write_picture(Path(source.path, there, "1.png"), 1)
    with pytest.raises(ErasureError, match="one level too deep") as refused:
        requests.add(tables, source, Target.from_names("eva-9"))
    assert repr(there) in str(refused.value)
    write_picture(Path(source.path, "photos", "eva-9", "1.png"), 1)
    assert find(tables, source, Target.from_names("eva-9")).elsewhere == (there,)


def test_who_has_left_no_trace_is_said_to_have_none(own: Work) -> None:
    tables, source = own
    with pytest.raises(ErasureError, match="There is no trace of anna-7f4"):
        requests.add(tables, source, Target.from_names("anna-7f4"))


def test_a_missing_input_is_not_taken_for_an_empty_one(own: Work) -> None:
    tables, source = own
    Path(source.path).rename(Path(source.path + "-unmounted"))
    with pytest.raises(ErasureError, match="Is its disk mounted"):
        requests.add(tables, source, Target.from_names(ANNA))
