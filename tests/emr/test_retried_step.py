"""A step that fails on the cluster and is retried, while EMR throttles and a cluster terminates."""

from __future__ import annotations

import importlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType as Kind

from fruits_assets.emr import code_package
from fruits_assets.emr.launcher import FruitsStepLauncher, Polling, launched_spark_config
from spark_src.io.aws import client
from spark_src.spark.session import cluster_config
from tests.emr.conftest import NAME, Account
from tests.emr.emulated_cluster import REGION, start_cluster

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")

MODULE = Path(__file__).with_name("fails_once.py")
Run = Callable[[FruitsStepLauncher, str], list[Any]]


@pytest.fixture
def with_the_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code package with the module of the failing asset added."""
    package = code_package.build()
    content = io.BytesIO(package.content)
    with zipfile.ZipFile(content, "a") as archive:
        archive.write(MODULE, MODULE.name)
    package = code_package.CodePackage.from_content(content.getvalue())
    monkeypatch.setattr(code_package, "build", lambda: package)
    monkeypatch.syspath_prepend(str(MODULE.parent))


@pytest.fixture
def launcher(account: Account) -> FruitsStepLauncher:
    return FruitsStepLauncher(
        cluster_name=NAME,
        region=REGION,
        storage=account.tables.root,
        settings={"FRUITS_DEPLOYMENT": "emr"},
        spark_config=launched_spark_config(cluster_config(), REGION),
        polling=Polling(longest_seconds=1),
    )


@pytest.fixture
def run(with_the_assets: None) -> Run:  # noqa: ARG001
    """Run a job of the module with a launcher; returns all events."""

    def execute(launcher: FruitsStepLauncher, name: str) -> list[Any]:
        fails_once = importlib.import_module(MODULE.stem)
        fails_once.HERE["launcher"] = launcher
        job = dg.reconstructable(getattr(fails_once, name))
        with dg.instance_for_test() as instance, dg.execute_job(job, instance) as result:
            return list(result.all_events)

    return execute


def test_a_retry_succeeds_despite_throttling_and_a_terminated_cluster_without_repeated_events(
    account: Account, launcher: FruitsStepLauncher, run: Run
) -> None:
    before = set(account.cluster.begun)
    ended = start_cluster(NAME, f"s3://{account.bucket}/logs/")
    account.emr.ends_before.add("add_job_flow_steps")
    account.emr.throttled.update(describe_step=2, list_clusters=1)
    found = Counter(event.event_type for event in run(launcher, "again"))
    assert found[Kind.STEP_UP_FOR_RETRY] == found[Kind.STEP_RESTARTED] == 1
    assert found[Kind.ASSET_MATERIALIZATION] == found[Kind.STEP_SUCCESS] == 1
    assert found[Kind.RUN_SUCCESS] == 1
    assert not account.emr.ends_before and not account.emr.throttled.total()
    described = client("emr", REGION).describe_cluster(ClusterId=ended)
    assert described["Cluster"]["Status"]["State"] == "TERMINATED"
    # The step that failed in Dagster also failed in EMR.
    steps = {account.cluster.state(step) for step in account.cluster.begun - before}
    assert steps == {"FAILED", "COMPLETED"}
