"""Versions of mobilenet_features: the real sample's, and any that a test makes up."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_src.assemble import TABLE
from spark_src.io.locations import Location
from spark_src.spark.session import read_table
from spark_src.storage import Storage, Version
from spark_src.tables.statistics import digests, table_facts


@pytest.fixture(scope="session")
def sample_version(
    spark: SparkSession, sample_features: Location, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """The sample's features, written and described as the asset's IO manager does it."""
    storage = Storage(Location.parse(str(tmp_path_factory.mktemp("storage"))))
    draft = storage.begin("mobilenet_features", "run-1")
    shutil.copytree(sample_features.path, draft.location.path, dirs_exist_ok=True)
    written = read_table(spark, draft.location)
    facts = table_facts(written) | {"models": digests(written), "digest": "digest"}
    return storage.publish(draft, facts)


@pytest.fixture(scope="session")
def store_features(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Version]:
    """Publish rows as a version: columns left out are null, `model` is "digest".

    The rows are dealt out to so many files, of row groups of at most so many rows.
    """

    def store(
        rows: Sequence[dict[str, Any]], files: int = 1, rows_per_group: int = 2**20
    ) -> Version:
        storage = Storage(Location.parse(str(tmp_path_factory.mktemp("storage"))))
        draft = storage.begin("mobilenet_features", "run-1")
        whole = [{"model": "digest"} | row for row in rows]
        for number in range(files):
            table = pa.Table.from_pylist(whole[number::files], schema=TABLE)
            file = Path(draft.location.path, f"part-{number}.parquet")
            pq.write_table(table, file, row_group_size=rows_per_group)
        facts = {
            "rows": len(whole),
            "models": sorted({row["model"] for row in whole}),
            "splits": dict(Counter(row.get("split") or "" for row in whole)),
            "digest": "digest",
        }
        return storage.publish(draft, facts)

    return store
