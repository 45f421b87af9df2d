"""A storage with pictures of two people, erasure without Dagster, and independent checks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.purge import purge
from spark_src.erasure.target import Target
from spark_src.features.model import MobilenetModel
from spark_src.features.plan import features_fingerprint
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.pca import fit
from spark_src.pca.refit import FitSettings
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.audit import vector_statistics
from spark_src.tables.delta import Snapshot, Tables, is_table
from spark_src.tables.parquet import read_columns, write_file, write_whole
from spark_src.tables.schemas import KEYS, MOBILENET_FEATURES
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
from tests.pipeline import featurize

ANNA, BEN = "anna-7f3", "ben-22c"
MODEL = MobilenetModel(b"a model", "weights", 1.0, 0.0)
SETTINGS = FitSettings(n_components=5)

Deployment = tuple[Tables, Location]
"""The storage and the input."""


def statistics_of(asset: str) -> Statistics:
    """Statistics of an asset without rows."""
    digest, files = f"{asset}-1", () if is_table(asset) else (f"{asset}.bin",)
    common = {"digest": digest, "files": files}
    statistics: dict[str, Statistics] = {
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
    return statistics[asset]


def commit_all(tables: Tables, source: Location) -> Deployment:
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


def picture(number: int) -> bytes:
    """A small, unique picture."""
    pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture(number))


def make_features(tables: Tables, images: Snapshot) -> Snapshot:
    """Features derived from the picture's id, in files named as in the pipeline."""
    write = tables.begin("mobilenet_features", "run-1", [images])
    new = []
    for location in images.locations:
        rows = pq.read_table(location.path, columns=[*KEYS, "orientation"])
        seeds = [int(name[:8], 16) for name in rows["image_id"].to_pylist()]
        vectors = np.stack([np.random.default_rng(seed).random(FEATURES) for seed in seeds])
        rows = rows.append_column("features", float_lists(vectors.astype(np.float32)))
        rows = rows.append_column("model_sha256", pa.array([MODEL.sha256] * rows.num_rows))
        name = f"{location.name[:-8]}.{features_fingerprint(MODEL.sha256)}.parquet"
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


def paths_in(tables: Tables, asset: str) -> set[str]:
    files = tables.current(asset).locations
    return set(read_columns(files, ["path"])["path"].to_pylist()) if files else set()


def erase(
    spark: Callable[[], SparkSession], deployment: Deployment, target: Target
) -> dict[str, Any]:
    """Erase as the job does, without the downstream assets of features."""
    tables, source = deployment
    requests.add(tables, source, target)
    for request in requests.pending(tables):
        requests.erase_inputs(tables, source, request)
    for request in requests.pending(tables):
        requests.erase_rows(spark, tables, request, "erase-1")
    if tables.current("raw_images").rows:
        featurize(spark(), tables, tables.current("raw_images"), MODEL, run_id="erase-1")
    deleted = purge(tables, "erase-1")
    [request] = requests.pending(tables)
    receipt = proof.prove(tables, source, request, {"purged_files": deleted})
    requests.require_all_done(tables)
    return dict(json.loads(receipt.read()))


def assert_no_trace(deployment: Deployment, text: str) -> None:
    """Independent check of names, bytes and Parquet columns."""
    for root in deployment:
        tables = Path(root.root.path) if isinstance(root, Tables) else Path(root.path)
        for file in tables.rglob("*"):
            assert text not in str(file.relative_to(tables)), file
            if not file.is_file():
                continue
            assert text.encode() not in file.read_bytes(), file
            if file.suffix == ".parquet":
                assert text not in str(pq.read_table(file).to_pylist()), file
