"""Features that lie anywhere come into one order, in files and blocks of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src import feature_parts
from spark_src.assemble import TABLE, places_of, write_files
from spark_src.io.locations import Location
from spark_src.tables.vector_files import data_files, write_vectors
from spark_src.tables.vectors import FEATURES, float_lists

ROWS = 16_400
"""A file of eight full blocks, and one of 16 rows."""


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows by path; their features lie in two files in another order, two rows share one vector."""
    folder = Location.parse(str(tmp_path_factory.mktemp("sources")))
    order = np.random.default_rng(7).permutation(ROWS)
    sources = [
        _source(folder / f"part-{n}.parquet", ids)
        for n, ids in enumerate((order[:9000], order[9000:]))
    ]
    rows = pd.concat(sources).sort_values("path", ignore_index=True)
    rows.loc[1, ["image_id", "file", "row"]] = rows.loc[0, ["image_id", "file", "row"]]
    return rows


def _source(file: Location, ids: np.ndarray) -> pd.DataFrame:
    names = [f"{number:05}" for number in ids]
    vectors = np.repeat(ids.astype(np.float32)[:, None], FEATURES, axis=1)
    columns = [pa.array(names), pa.array([1] * len(ids), pa.int32()), float_lists(vectors)]
    write_vectors([pa.table(columns, feature_parts.SCHEMA)], file, feature_parts.SCHEMA)
    texts = {"image_id": names, "path": [f"{name}.jpg" for name in names], "split": None}
    return pd.DataFrame(texts | {"label": "Apple", "file": file.path, "row": range(len(ids))})


def test_rows_come_in_their_order_each_with_its_own_features(
    spark: SparkSession, located: pd.DataFrame, tmp_path: Path
) -> None:
    folder = Location.parse(str(tmp_path))

    write_files(spark, located, "m", folder)

    files = [pq.ParquetFile(file.path) for file in data_files(folder)]
    table = pa.concat_tables([file.read() for file in files])
    assert table.schema == TABLE
    assert (
        table.drop_columns("features")
        .to_pandas()
        .equals(located[["image_id", "path", "split", "label"]].assign(model="m"))
    )
    vectors = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, FEATURES)
    assert (vectors == located["image_id"].astype(np.float32).to_numpy()[:, None]).all()
    sizes = [[f.metadata.row_group(n).num_rows for n in range(f.num_row_groups)] for f in files]
    assert sizes == [[2048] * 8, [16]]


def test_the_place_of_each_row_is_known_without_reading(
    spark: SparkSession, located: pd.DataFrame, tmp_path: Path
) -> None:
    write_files(spark, located, "m", Location.parse(str(tmp_path)))

    names, places = places_of(ROWS)

    last = pq.read_table(tmp_path / names[-1])["path"][int(places[-1])].as_py()
    assert last == located["path"].iloc[-1]


def test_a_table_without_rows_is_one_file(spark: SparkSession, tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=["image_id", "path", "split", "label", "file", "row"])

    write_files(spark, empty, "m", Location.parse(str(tmp_path)))

    assert pq.read_table(tmp_path).schema == TABLE
