"""A person's rows and files are removed from every table, and no others. Without Dagster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from spark_src.erasure import requests
from spark_src.erasure.rows import remove_rows
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.pca import fit
from spark_src.pca.files import load_sums
from spark_src.pca.model import fit_sums
from spark_src.pca.sums import sum_files
from spark_src.tables.parquet import read_columns
from spark_src.tables.statistics import (
    FeaturesStatistics,
    PcaModelStatistics,
)
from tests.pipeline import featurize, ingest, tables_in
from tests.spark_src.erasure_storage import (
    ANNA,
    BEN,
    MODEL,
    Deployment,
    assert_no_trace,
    erase,
    make_pca,
    paths_in,
    write_picture,
)


def test_only_the_rows_and_files_of_the_person_are_removed(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    others = {path for path in paths_in(tables, "raw_images") if ANNA not in path}
    receipt = erase(lambda: spark, deployment, Target.from_names(ANNA))
    assert_no_trace(deployment, ANNA)
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


def test_statistics_after_an_erasure_equal_those_of_the_remaining_pictures(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    erase(lambda: spark, deployment, Target.from_names(ANNA))
    again = ingest(spark, tables, source, run_id="run-2")
    assert again.unchanged
    fresh = ingest(spark, tables_in(Path(source.path).parent / "fresh"), source)
    changing = {"seconds", "measured", "n_read"}
    for kept, made_refitted in ((again.raw, fresh.raw), (again.rejected, fresh.rejected)):
        assert kept.statistics.model_dump(exclude=changing) == made_refitted.statistics.model_dump(
            exclude=changing
        )


def test_sums_and_pca_are_those_of_a_fit_without_the_person(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, _ = deployment
    remove_rows(lambda: spark, tables, Target.from_names(ANNA), "erase-1")
    features = featurize(spark, tables, tables.current("raw_images"), MODEL)[1]
    model = make_pca(spark, tables, erased=True)
    known = model.typed(PcaModelStatistics)
    assert "erased" in known.description
    assert known.n_images == known.n_images_today == 46
    refitted = sum_files(lambda: spark, features.locations, None)
    stored = load_sums(model.location / known.sums)
    assert stored.files == {file.name for file in features.files}
    np.testing.assert_array_equal(stored.sums.gram, refitted.gram)
    np.testing.assert_array_equal(stored.sums.total, refitted.total)
    actual, expected = fit.load_current(model), fit_sums(refitted, 5, MODEL.sha256)
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(actual.components, expected.components, rtol=0, atol=1e-9)


def test_a_file_without_rows_of_the_person_is_not_rewritten(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    write_picture(Path(source.path, "photos", "clara-1", "1.png"), 1000)
    ingest(spark, tables, source, run_id="run-2")
    before = {file.name for file in tables.current("raw_images").files}
    remove_rows(lambda: spark, tables, Target.from_names("clara-1"), "erase-1")
    after = {file.name for file in tables.current("raw_images").files}
    assert after < before
    assert len(before - after) == 1


def test_an_unreadable_request_does_not_block_another(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    broken = Path(tables.root.path, "erasures", "pending-broken.json")
    broken.parent.mkdir()
    broken.write_text("{")
    with pytest.raises(ErasureError, match=r"pending-broken\.json is not a valid request"):
        erase(lambda: spark, deployment, Target.from_names(ANNA))
    broken.unlink()
    requests.require_all_done(tables)
    assert_no_trace(deployment, ANNA)
    assert not Path(source.path, "photos", ANNA).exists()


def test_a_picture_of_several_owners_is_erased_by_id_only_on_request(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    keys = read_columns(tables.current("raw_images").locations, ["path", "image_id"]).to_pylist()
    [shared] = {key["image_id"] for key in keys if key["path"].endswith("shared.png")}
    with pytest.raises(ErasureError, match="more than one person"):
        requests.add(tables, source, Target.from_names(None, [shared]))
    erase(lambda: spark, deployment, Target.from_names(None, [shared], all_owners=True))
    assert_no_trace(deployment, shared)
    assert not list(Path(source.path).rglob("shared.png"))
    assert len(paths_in(tables, "raw_images")) == 60
    [single_owner] = {key["image_id"] for key in keys if key["path"] == "shop/Apple/1.png"}
    erase(lambda: spark, deployment, Target.from_names(None, [single_owner]))
    assert not Path(source.path, "shop/Apple/1.png").exists()
    assert Path(source.path, "shop/Apple/11.png").exists()
