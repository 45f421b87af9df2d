"""An erasure refits PCA if it was fitted on the person's photos, even after their rows are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

from pyspark.sql import SparkSession

from spark_src.erasure.rows import remove_rows
from spark_src.erasure.target import Target
from spark_src.tables.statistics import PcaModelStatistics
from tests.pipeline import featurize, ingest
from tests.spark_src.erasure_storage import ANNA, MODEL, Deployment, make_pca


def refresh(
    spark: SparkSession, deployment: Deployment, run_id: str, erased: bool = False
) -> PcaModelStatistics:
    tables, source = deployment
    if not erased:
        ingest(spark, tables, source, run_id=run_id)
    featurize(spark, tables, tables.current("raw_images"), MODEL, run_id=run_id)
    return make_pca(spark, tables, erased).typed(PcaModelStatistics)


def test_rows_removed_by_a_refresh_are_removed_from_the_model_by_the_next_erasure(
    deployment: Deployment, spark: SparkSession
) -> None:
    tables, source = deployment
    fitted = tables.current("pca_model").typed(PcaModelStatistics)
    shutil.rmtree(Path(source.path, "photos", ANNA))
    kept = refresh(spark, deployment, "run-2")
    assert (kept.digest, kept.n_images_today) == (fitted.digest, 46)  # the model is unchanged
    remove_rows(lambda: spark, tables, Target.from_names(ANNA), "erase-1")
    again = refresh(spark, deployment, "erase-1", erased=True)
    assert again.n_images == 46
    assert again.digest != fitted.digest
