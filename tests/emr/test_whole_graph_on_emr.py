"""The whole graph with Dagster's command, on a cluster with the packed environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings
from spark_src.features.inference import Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import model_input
from spark_src.images.validate import DEFAULT_LIMITS, clean_picture
from spark_src.pca.model import Sums, fit_sums
from spark_src.tables.delta import schema_of
from spark_src.tables.reading import read_table
from tests.emr.conftest import Account

pytestmark = [
    pytest.mark.usefixtures("materialized"),
    pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning"),
]

ASSETS = (
    "raw_images",
    "rejected_images",
    "mobilenet_model",
    "mobilenet_features",
    "pca_model",
    "pca_components",
    "csv_export",
)


@pytest.fixture(scope="module")
def materialized(account: Account) -> str:
    """The log of a run of all assets."""
    done = account.run("dagster", "asset", "materialize", "--select", "*")
    assert done.returncode == 0, done.stderr[-8000:]
    return done.stderr


def rows_of(account: Account, asset: str) -> list[dict[str, Any]]:
    return list(read_table(account.tables, asset).sort_by("path").to_pylist())


def versions(account: Account) -> dict[str, int]:
    return {asset: account.tables.current(asset).version for asset in ASSETS}


def test_every_asset_is_in_the_bucket_with_all_rows(account: Account, materialized: str) -> None:
    assert "RUN_SUCCESS" in materialized
    assert {asset for asset in ASSETS if account.tables.find(asset)} == set(ASSETS)
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert account.tables.current(asset).statistics.rows == 240


def test_features_equal_those_of_one_machine_exactly_and_components_to_six_digits(
    account: Account, sample: Path, mobilenet: MobilenetModel
) -> None:
    rows = rows_of(account, "mobilenet_features")
    files = sorted(file.relative_to(sample).as_posix() for file in sample.rglob("*.jpg"))
    assert [row["path"] for row in rows] == files
    pictures = [clean_picture((sample / row["path"]).read_bytes(), DEFAULT_LIMITS) for row in rows]
    pixels = [model_input(picture.content, picture.orientation) for picture in pictures]
    here = Engine(mobilenet.content).features(np.stack(pixels))
    on_cluster = np.array([row["features"] for row in rows], np.float32)
    np.testing.assert_array_equal(on_cluster, here)
    training = here[[row["split"] == "Training" for row in rows]]
    projected = fit_sums(Sums.from_features(training), 50, mobilenet.sha256).project(here)
    components = [row["pca"] for row in rows_of(account, "pca_components")]
    np.testing.assert_allclose(components, projected, atol=1e-6)


def test_events_and_progress_of_the_cluster_are_in_the_runs_log(
    account: Account, materialized: str
) -> None:
    assert materialized.count("is COMPLETED") == 5
    with dg.DagsterInstance.from_config(str(account.home)) as instance:
        first = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))[-1]
        texts = [entry.user_message for entry in instance.all_logs(first.run_id)]
    assert any("240 files" in text for text in texts)


def stale(account: Account, *changed: str) -> set[str]:
    """The stale assets after changing the code versions of some assets."""
    variables = {key[7:].lower(): value for key, value in account.variables.items()}
    names = ("deployment", "input", "storage", "cluster")
    settings = Settings(**{name: variables[name] for name in names})  # type: ignore[arg-type]

    def other(spec: dg.AssetSpec) -> dg.AssetSpec:
        new = spec.key.to_user_string() in changed
        return spec.replace_attributes(code_version="another") if new else spec

    graph = build_defs(settings).map_asset_specs(func=other).resolve_asset_graph()
    with dg.DagsterInstance.from_config(str(account.home)) as instance:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        status = {asset: resolver.get_status(dg.AssetKey(asset)) for asset in ASSETS}
    return {asset for asset, found in status.items() if found != StaleStatus.FRESH}


def test_nothing_is_stale_afterwards(account: Account) -> None:
    assert stale(account) == set()


def test_a_new_code_version_of_pca_makes_only_pca_and_its_downstream_stale(
    account: Account,
) -> None:
    pca = {"pca_model", "pca_components"}
    assert stale(account, *pca) - {"csv_export"} == pca


def test_materializations_report_the_cluster_costs(account: Account) -> None:
    with dg.DagsterInstance.from_config(str(account.home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("mobilenet_features"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {name: item.value for name, item in event.asset_materialization.metadata.items()}
    assert 0 < float(str(metadata["estimated USD"])) < 1
    assert "estimated USD per 100,000 images" in metadata


def test_the_path_of_an_asset_is_its_uri_in_the_bucket(account: Account) -> None:
    done = account.run("fruits", "path", "csv_export")
    uri = f"s3://{account.bucket}/data/Results_CSV/pca_components.csv"
    assert done.stdout.strip() == uri, done.stderr


def test_every_check_passes_on_the_bucket(account: Account) -> None:
    done = account.run("fruits", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILS" not in done.stdout


def test_pca_alone_does_not_change_images_or_features(account: Account) -> None:
    before = versions(account)
    twenty = '{"ops": {"pca_model": {"config": {"n_components": 20}}}}'
    select = ("--select", "pca_model+", "--config-json", twenty)
    done = account.run("dagster", "asset", "materialize", *select)
    assert done.returncode == 0, done.stderr[-8000:]
    after = versions(account)
    changed = {asset for asset in ASSETS if before[asset] != after[asset]}
    assert changed == {"pca_model", "pca_components", "csv_export"}
    assert {len(row["pca"]) for row in rows_of(account, "pca_components")} == {20}


def test_steps_run_with_the_python_of_the_packed_environment(
    account: Account,
) -> None:
    setting = "spark.pyspark.driver.python="
    parts = [part for command in account.cluster.commands for part in command]
    pythons = [part for part in parts if part.startswith(setting)]
    assert pythons
    assert all(python.endswith("/env/bin/python") for python in pythons)
    assert not any(str(Path(__file__).parents[2]) in python for python in pythons)


def test_tables_have_their_schemas(account: Account) -> None:
    for asset in ("raw_images", "rejected_images", "mobilenet_features", "pca_components"):
        found, wanted = read_table(account.tables, asset).schema, schema_of(asset)
        assert (found.names, found.types) == (wanted.names, wanted.types)
