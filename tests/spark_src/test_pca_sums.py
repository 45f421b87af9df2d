"""PCA's sums read from files are those that Spark's table gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.errors import PcaError
from spark_src.featurize import FEATURES
from spark_src.locations import Location
from spark_src.pca import fit, sums_of
from spark_src.pca_sums import fit_version, sums_of_files
from spark_src.session import read_vectors
from spark_src.storage import Storage


def test_the_files_give_the_same_model_as_the_table(
    spark: SparkSession, sample_features: Location, tmp_path: Path
) -> None:
    storage = Storage(Location.parse(str(tmp_path)))
    draft = storage.begin("mobilenet_features", "run-1")
    table = read_vectors(spark, sample_features)
    table.write.mode("append").parquet(draft.location.hadoop)
    models = [row["model"] for row in table.select("model").distinct().collect()]
    facts = {"rows": 240, "models": models, "splits": {"Test": 60, "Training": 180}}
    ours = fit_version(spark, storage.publish(draft, facts), 50, 0.8)
    reference = fit(table, 50, 0.8)
    assert (ours.images, ours.model, ours.min_explained_variance) == (180, models[0], 0.8)
    np.testing.assert_allclose(ours.components, reference.components, atol=1e-9)
    np.testing.assert_allclose(
        ours.explained_variance_ratio, reference.explained_variance_ratio, atol=1e-12
    )


def test_all_splits_are_summed_where_none_is_asked_for(
    spark: SparkSession, sample_features: Location
) -> None:
    sums = sums_of_files(spark, sample_features, None)
    reference = sums_of(read_vectors(spark, sample_features))
    assert sums.images == reference.images == 240
    np.testing.assert_allclose(sums.gram, reference.gram, rtol=1e-12)


@pytest.mark.parametrize("vector", [None, [1.0] * (FEATURES - 1)], ids=["null", "short"])
def test_a_row_without_a_whole_vector_is_a_clear_error(
    spark: SparkSession, tmp_path: Path, vector: list[float] | None
) -> None:
    schema = pa.schema([("split", pa.string()), ("features", pa.list_(pa.float32()))])
    rows = [{"split": "Training", "features": values} for values in ([0.0] * FEATURES, vector)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "part-0.parquet")
    with pytest.raises(PcaError, match="1 feature vectors do not have 1,280 numbers"):
        sums_of_files(spark, Location.parse(str(tmp_path)), "Training")
