"""Run the job `erase` on a test's input and storage, and verify it independently."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from pyspark.sql import SparkSession

from fruits_assets.definitions import build_defs
from fruits_assets.erasure_job import JOB
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.erasure import requests
from spark_src.erasure.target import Target
from spark_src.io.locations import Location
from spark_src.pca.files import load_sums
from spark_src.pca.fit import load_current
from spark_src.pca.model import fit_sums
from spark_src.pca.sums import sum_files
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from spark_src.tables.registry import TABLES
from spark_src.tables.statistics import FeaturesStatistics, PcaModelStatistics, RawImagesStatistics
from tests.pipeline import tables_in

Run = Callable[..., dg.ExecuteInProcessResult]
Erase = Callable[..., dg.ExecuteInProcessResult]

SUBJECT, OTHER = "anna-7f3", "ben-22c"
QUIET = {"log_level": "CRITICAL"}


def source_in(folder: Path) -> Location:
    return Location.parse(str(folder / "input"))


def run_job(
    folder: Path, target: Target | None = None, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Run the job like `fruits erase` and Dagster's UI."""
    if target is not None:
        requests.add(tables_in(folder / "data"), source_in(folder), target)
    settings = Settings(storage=str(folder / "data"), input=str(folder / "input"))
    job = build_defs(settings).resolve_job_def(JOB)
    return job.execute_in_process(run_config=QUIET, raise_on_error=False, instance=instance)


def paths_of(tables: Tables, asset: str) -> set[str]:
    files = tables.current(asset).locations
    return set(read_columns(files, ["path"])["path"].to_pylist()) if files else set()


def error_of(result: dg.ExecuteInProcessResult) -> str:
    events = result.filter_events(lambda event: event.is_step_failure)
    return "".join(event.step_failure_data.error.to_string() for event in events)  # type: ignore[union-attr]


def assert_erased(folder: Path) -> dict[str, Any]:
    """Require that an independent scan finds nothing of the person; return the receipt."""
    assert not (folder / "input" / "photos" / SUBJECT).exists()
    for file in (folder / "data").rglob("*"):
        assert SUBJECT not in str(file.relative_to(folder)), file
        assert SUBJECT.encode() not in (file.read_bytes() if file.is_file() else b""), file
        if file.suffix == ".parquet":
            texts = [c.name for c in pq.read_schema(file) if c.type in {"string", "large_string"}]
            assert SUBJECT not in str(pq.read_table(file, columns=texts).to_pylist()), file
    tables = tables_in(folder / "data")
    for asset in PREFIXES:  # no earlier version is left to restore
        assert {commit.record.note[:7] for commit in tables.history(asset)} == {"erasure"}, asset
    for asset in TABLES:
        names = {file.name for file in tables.current(asset).files}
        assert {
            file.name for file in (folder / "data" / PREFIXES[asset]).glob("*.parquet")
        } == names
    [receipt] = (folder / "data" / "erasures").glob("receipt-*.json")
    assert not list((folder / "data" / "erasures").glob("pending-*"))
    return dict(json.loads(receipt.read_text()))


def assert_the_rest_is_whole(folder: Path, spark: SparkSession) -> None:
    tables = tables_in(folder / "data")
    features = tables.current("mobilenet_features")
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert tables.current(asset).statistics.rows == 41, asset
    for asset in ("raw_images", "mobilenet_features", "pca_components"):
        assert tables.current(asset).rows == 41, asset
    raw = tables.current("raw_images").typed(RawImagesStatistics)
    assert (raw.n_listed, raw.rejected, tables.current("rejected_images").rows) == (42, 1, 1)
    assert f"photos/{OTHER}/shared.jpg" in paths_of(tables, "mobilenet_features")
    csv = (tables.current("csv_export").location / "pca_components.csv").read().decode()
    assert csv.count("\n") == 42
    model = tables.current("pca_model")
    recomputed = sum_files(lambda: spark, features.locations, None)
    stored = load_sums(model.location / model.typed(PcaModelStatistics).sums).sums
    np.testing.assert_array_equal(stored.gram, recomputed.gram)
    fitted = fit_sums(recomputed, 5, features.typed(FeaturesStatistics).model_sha256)
    np.testing.assert_allclose(load_current(model).mean, fitted.mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(load_current(model).components, fitted.components, atol=1e-9)


def add_run(
    instance: dg.DagsterInstance,
    job: str,
    status: dg.DagsterRunStatus,
    assets: Sequence[str] = (),
    location: str = "fruits",
) -> str:
    """A run as launched by the UI."""
    target = LoadableTargetOrigin(module_name="fruits_assets.definitions")
    code_location = InProcessCodeLocationOrigin(target, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(code_location, "repository"), job)
    run_id = str(uuid.uuid4())
    selection = {dg.AssetKey(name) for name in assets} or None
    run = dg.DagsterRun(
        job, run_id, status=status, asset_selection=selection, remote_job_origin=origin
    )
    instance.add_run(run)
    return run_id
