"""Synthetic versions of mobilenet_features, and a folder that every user can access."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.tables.audit import vector_statistics
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import write_file
from spark_src.tables.schemas import MOBILENET_FEATURES
from spark_src.tables.statistics import FeaturesStatistics
from tests.pipeline import ingest, tables_in
from tests.spark_src.erasure_storage import (
    ANNA,
    BEN,
    Deployment,
    commit_all,
    make_features,
    make_pca,
    write_picture,
)
from tests.spark_src.vectors import VectorStorage, images


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can write to, unlike pytest's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    before = os.umask(0o022)  # the project's processes have one that closes what they make
    yield folder
    os.umask(before)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def store_features(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Snapshot]:
    """Commit rows as a version in a separate storage; missing columns are null.

    `model_sha256` defaults to "digest". The rows are distributed over `files` files with row groups
    of at most `rows_per_group` rows.
    """

    def store(
        rows: Sequence[dict[str, Any]], files: int = 1, rows_per_group: int = 2**20
    ) -> Snapshot:
        tables = tables_in(tmp_path_factory.mktemp("storage"))
        write = tables.begin("mobilenet_features", "run-1")
        whole = [{"model_sha256": "digest"} | row for row in rows]
        table = pa.Table.from_pylist(whole, schema=MOBILENET_FEATURES)
        written = [
            write_file(
                [table.take(pa.array(range(number, len(whole), files), pa.int64()))],
                write.folder,
                f"part-{number}.made-up.parquet",
                MOBILENET_FEATURES,
                rows_per_group,
            )
            for number in range(files)
        ]
        found = FeaturesStatistics(
            digest="digest",
            rows=len(whole),
            model_sha256="digest",
            preprocessing=PIXELS,
            vectors=vector_statistics(table["features"].combine_chunks()),
            splits=dict(Counter(row.get("split") or "" for row in whole)),
        )
        return write.commit(found, written)

    return store


@pytest.fixture(scope="session")
def fitted_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `storage` copies."""
    folder = tmp_path_factory.mktemp("fitted")
    begun = VectorStorage.in_folder(spark, folder)
    files = {str(n): images(range(15 * n, 15 * n + 15)) for n in range(4)}
    begun.features({**files, "test": images(range(30), "Test")})
    begun.refresh_pca()
    begun.refresh_components()
    return folder


@pytest.fixture
def storage(spark: SparkSession, fitted_once: Path, tmp_path: Path) -> VectorStorage:
    """A storage whose PCA was fitted on 60 images of the split Training, in files 0 to 3.

    The file `test` has 30 others; all have components.
    """
    shutil.copytree(fitted_once, tmp_path / "storage")
    return VectorStorage.in_folder(spark, tmp_path / "storage")


@pytest.fixture
def empty_assets(tmp_path: Path) -> Deployment:
    """Every asset, committed without rows, and an empty input."""
    (tmp_path / "input").mkdir()
    return commit_all(tables_in(tmp_path / "data"), Location.parse(str(tmp_path / "input")))


@pytest.fixture(scope="session")
def two_persons(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with pictures of two people and others, and a PCA of synthetic features."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "input"
    for number in range(60):
        owner = "shop/Apple" if number < 30 else f"photos/{ANNA if number < 45 else BEN}/Apple"
        write_picture(source / owner / f"{number}.png", number)
    for owner in (ANNA, BEN):  # both share one picture, and each has a broken one
        write_picture(source / "photos" / owner / "shared.png", 99)
        (source / "photos" / owner / "broken.jpg").write_bytes(b"no picture")
    tables = tables_in(folder / "data")
    make_features(tables, ingest(spark, tables, source).raw)
    make_pca(spark, tables)
    return folder


@pytest.fixture
def deployment(two_persons: Path, tmp_path: Path, spark: SparkSession) -> Deployment:
    """A separate copy for each test."""
    folder = Path(shutil.copytree(two_persons, tmp_path / "own"))
    tables, source = tables_in(folder / "data"), Location.parse(str(folder / "input"))
    for asset in ("raw_images", "rejected_images"):
        write = tables.begin(asset, "moved")
        assert write.before is not None
        write.commit(write.before.statistics.model_copy(update={"input": source.uri}))
    assert spark.getActiveSession() is not None
    return tables, source
