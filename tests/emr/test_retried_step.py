"""A step that fails on the cluster and is tried again there, from the first event to the last."""

from __future__ import annotations

import importlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType as Kind
from dagster_aws.emr.pyspark_step_launcher import EmrPySparkStepLauncher

from fruits_assets.emr import cluster, code_package
from fruits_assets.emr.launcher import FruitsStepLauncher, Polling, launched_spark_config
from spark_src.spark.session import cluster_config
from tests.emr.conftest import NAME, Account
from tests.emr.emulated_cluster import REGION

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")

MODULE = Path(__file__).with_name("fails_once.py")
CONFIG = launched_spark_config(cluster_config(), REGION)


class Stock(EmrPySparkStepLauncher):
    """dagster-aws's own, which looks every second and not every 15."""

    def wait_for_completion(self, *arguments: Any) -> Iterator[Any]:
        yield from super().wait_for_completion(*arguments, check_interval=1)  # type: ignore[no-untyped-call]


@pytest.fixture
def with_the_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's code as it travels, and the module of the asset that fails."""
    package = code_package.build()
    content = io.BytesIO(package.content)
    with zipfile.ZipFile(content, "a") as archive:
        archive.write(MODULE, MODULE.name)
    package = replace(package, name="code-and-asset.zip", content=content.getvalue())
    monkeypatch.setattr(code_package, "build", lambda: package)
    monkeypatch.syspath_prepend(str(MODULE.parent))


@pytest.fixture
def events(with_the_asset: None) -> Callable[[Any], Counter[Kind]]:  # noqa: ARG001
    """Materialize with a launcher: how many events there are of each kind."""

    def materialize(launcher: Any) -> Counter[Kind]:
        fails_once = importlib.import_module(MODULE.stem)
        fails_once.HERE["launcher"] = launcher
        job = dg.reconstructable(fails_once.job)
        with dg.instance_for_test() as instance, dg.execute_job(job, instance) as result:
            return Counter(event.event_type for event in result.all_events)

    return materialize


def test_a_retry_on_the_cluster_succeeds_and_repeats_no_event_of_the_first_try(
    account: Account, events: Callable[[Any], Counter[Kind]]
) -> None:
    found = events(
        FruitsStepLauncher(
            cluster_name=NAME,
            region=REGION,
            storage=account.tables.root,
            settings={"FRUITS_DEPLOYMENT": "emr"},
            spark_config=CONFIG,
            polling=Polling(longest_seconds=1),
        )
    )
    assert found[Kind.STEP_UP_FOR_RETRY] == found[Kind.STEP_RESTARTED] == 1
    assert found[Kind.ASSET_MATERIALIZATION] == found[Kind.STEP_SUCCESS] == 1
    assert found[Kind.RUN_SUCCESS] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_stock_launchers_retry_repeats_the_first_tries_events_and_its_run_fails(
    account: Account, events: Callable[[Any], Counter[Kind]]
) -> None:
    code = code_package.push(account.tables.root / "staging", REGION)
    found = events(
        Stock(  # type: ignore[no-untyped-call]
            region_name=REGION,
            staging_bucket=account.bucket,
            staging_prefix="stock",
            wait_for_logs=False,
            action_on_failure="CONTINUE",
            cluster_id=cluster.ensure_ready(NAME, REGION, print, storage=account.tables.root),
            spark_config=CONFIG,
            local_job_package_path="/",
            deploy_local_job_package=False,
            s3_job_package_path=code.hadoop,
        )
    )
    assert found[Kind.STEP_UP_FOR_RETRY] == 2, "the stock launcher is mended"
    assert found[Kind.RUN_FAILURE] == 1
