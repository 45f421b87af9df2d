"""The faults of dagster-aws's launcher, and that ours has none of them."""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster_aws.emr.emr import EmrError
from dagster_aws.emr.pyspark_step_launcher import EmrPySparkStepLauncher
from dagster_pyspark.utils import build_pyspark_zip

from fruits_assets.emr import cluster
from fruits_assets.emr.launcher import FruitsStepLauncher, launched_spark_config
from fruits_assets.emr.step import REMOTE, adopt
from spark_src.errors import ClusterError, SettingsError
from spark_src.io.aws import client
from spark_src.spark.session import cluster_config
from tests.emr.conftest import NAME, Account
from tests.emr.emulated_cluster import REGION

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")


@pytest.fixture
def launcher(account: Account) -> FruitsStepLauncher:
    return FruitsStepLauncher(
        cluster_name=NAME,
        region=REGION,
        storage=account.tables.root,
        settings={"FRUITS_DEPLOYMENT": "emr"},
        spark_config=launched_spark_config(cluster_config(), REGION),
    )


@pytest.fixture
def stock(account: Account) -> Any:
    """dagster-aws's own, as its documentation shows it."""
    return EmrPySparkStepLauncher(
        region_name=REGION,
        staging_bucket=account.bucket,
        staging_prefix="staging",
        wait_for_logs=False,
        action_on_failure="CANCEL_AND_WAIT",
        cluster_id="j-1",
        spark_config={},
        local_job_package_path="/",
        deploy_local_job_package=False,
    )


def test_a_step_without_its_deployment_refuses_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", "/left/over")
    with pytest.raises(SettingsError, match="came without its settings"):
        adopt({"settings": {"FRUITS_STORAGE": "s3://bucket/data"}})
    assert os.environ["FRUITS_STORAGE"] == "/left/over"
    assert REMOTE not in os.environ


def test_a_step_takes_over_every_setting_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"FRUITS_STORAGE": "/left/over", "FRUITS_INPUT": "/too"})
    adopt({"settings": {"FRUITS_DEPLOYMENT": "emr", "FRUITS_STORAGE": "s3://bucket/data"}})
    assert os.environ == {
        "FRUITS_DEPLOYMENT": "emr",
        "FRUITS_STORAGE": "s3://bucket/data",
        REMOTE: "1",
    }


def test_a_retry_reads_none_of_the_first_tries_events(
    launcher: FruitsStepLauncher, stock: Any
) -> None:
    def keys(one: Any) -> list[str]:
        found = []
        for attempt in (0, 1):
            getattr(one, "_attempts", {})["pca"] = attempt
            found.append(one._artifact_s3_key("run", "pca", "events.pkl"))
        return found

    first, second = keys(stock)
    assert first == second, "the stock launcher is mended: ours need not do it any more"
    first, second = keys(launcher)
    assert first != second


def test_a_failed_step_cancels_nothing_else_on_a_cluster_that_runs_several(
    launcher: FruitsStepLauncher, stock: Any
) -> None:
    def action(one: Any) -> str:
        return str(one._get_emr_step_def("run", "pca", "pca")["ActionOnFailure"])

    assert action(stock) == "CANCEL_AND_WAIT"
    assert action(launcher) == "CONTINUE"


def test_keys_of_dynamic_steps_hold_no_brackets(launcher: FruitsStepLauncher) -> None:
    assert "[" not in launcher._artifact_s3_key("run", "pca[3]", "events.pkl")


def test_a_crash_before_dagster_starts_is_told_with_its_last_lines(
    launcher: FruitsStepLauncher, account: Account
) -> None:
    launcher.settings = {}
    launcher.cluster_id = cluster.ensure_ready(NAME, REGION, print, storage=account.tables.root)
    launcher._post_artifacts(None, "no step", "crash", "pca")
    code = account.tables.root / "staging" / "code.zip"
    code.write(_code())
    launcher.s3_job_package_path = code.hadoop
    step = launcher._get_emr_step_def("crash", "pca", "pca")
    emr = client("emr", REGION)
    answer = emr.add_job_flow_steps(JobFlowId=launcher.cluster_id, Steps=[step])
    step_id = answer["StepIds"][0]
    while launcher._state_of(step_id)[0] not in {"FAILED", "COMPLETED"}:
        time.sleep(0.2)
    told = launcher._why("crash", "pca", step_id, "FAILED", "")
    assert "came without its settings (FRUITS_DEPLOYMENT=emr" in told
    assert "Traceback" in launcher._step_log(step_id)


def test_what_travels_with_a_step_is_its_settings_and_its_reference(
    launcher: FruitsStepLauncher, account: Account
) -> None:
    launcher._post_artifacts(None, "the step", "run", "pca")
    key = launcher._artifact_s3_key("run", "pca", "step_run_ref.pkl")
    body = client("s3", REGION).get_object(Bucket=account.bucket, Key=key)["Body"].read()
    order = pickle.loads(body)
    assert order["settings"] == {"FRUITS_DEPLOYMENT": "emr"}
    assert pickle.loads(order["step"]) == "the step"


def test_the_stock_launcher_sends_no_settings_with_a_step(stock: Any, account: Account) -> None:
    stock._post_artifacts(logging.getLogger(), "the step", "stock", "pca")
    key = stock._artifact_s3_key("stock", "pca", "step_run_ref.pkl")
    body = client("s3", REGION).get_object(Bucket=account.bucket, Key=key)["Body"].read()
    assert pickle.loads(body) == "the step", "the stock launcher is mended"


def test_the_stock_launchers_zip_holds_the_whole_folder_or_nothing(tmp_path: Path) -> None:
    def zipped(folder: Path) -> set[str]:
        for name in (".git/HEAD", ".venv/lib/tensorflow.py", "data/1.jpg", "code.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        build_pyspark_zip(str(tmp_path / "stock.zip"), str(folder))
        return set(zipfile.ZipFile(tmp_path / "stock.zip").namelist())

    assert "pytest" in str(tmp_path)
    assert zipped(tmp_path / "project") == set()
    with tempfile.TemporaryDirectory(prefix="fruits") as folder:
        found = zipped(Path(folder))
    assert found >= {".git/HEAD", ".venv/lib/tensorflow.py", "data/1.jpg"}
    ours = zipfile.ZipFile(io.BytesIO(_code())).namelist()
    assert {name.split("/")[0] for name in ours} == {"fruits_assets", "spark_src"}


@pytest.fixture
def add_step(account: Account) -> Callable[[list[str]], tuple[str, str]]:
    """Run a command as a step; the ids of the cluster and of the step."""

    def add(command: list[str]) -> tuple[str, str]:
        cluster_id = cluster.ensure_ready(NAME, REGION, print, storage=account.tables.root)
        jar = {"Jar": "command-runner.jar", "Args": command}
        step = {"Name": "test", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        answer = client("emr", REGION).add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])
        step_id = answer["StepIds"][0]
        while step_id not in account.cluster.begun:
            time.sleep(0.05)
        return cluster_id, step_id

    return add


def test_the_stock_launcher_says_only_that_a_step_failed_and_ours_why(
    stock: Any, launcher: FruitsStepLauncher, add_step: Callable[[list[str]], tuple[str, str]]
) -> None:
    cluster_id, step_id = add_step(["sh", "-c", "echo the reason >&2; exit 1"])
    launcher.cluster_id = cluster_id
    while launcher._state_of(step_id)[0] != "FAILED":
        time.sleep(0.1)
    runner = stock.emr_job_runner
    with pytest.raises(EmrError) as told:
        runner.is_emr_step_complete(logging.getLogger(), cluster_id, step_id)
    assert "the reason" not in str(told.value)
    assert "the reason" in launcher._why("run", "pca", step_id, "FAILED", "")


def test_the_stock_launcher_leaves_the_step_running_when_its_run_is_terminated(
    stock: Any,
    account: Account,
    add_step: Callable[[list[str]], tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock.cluster_id, step_id = add_step(["sleep", "60"])

    def terminated(_: float) -> None:
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(
        "dagster_aws.emr.pyspark_step_launcher.time", SimpleNamespace(sleep=terminated)
    )
    with pytest.raises(DagsterExecutionInterruptedError):
        list(stock.wait_for_completion(None, None, "run", "pca", step_id))
    assert account.cluster.state(step_id) == "RUNNING", "the stock launcher is mended"
    account.cluster.cancel(step_id)


def test_a_cluster_that_dies_under_a_step_is_told_and_not_waited_for(
    launcher: FruitsStepLauncher,
    account: Account,
    add_step: Callable[[list[str]], tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher.cluster_id, step_id = add_step(["sleep", "60"])
    died = replace(cluster.describe(launcher.cluster_id, REGION), state="TERMINATED_WITH_ERRORS")
    monkeypatch.setattr(cluster, "now", lambda *_: died)
    context = SimpleNamespace(log=logging.getLogger(), instance=None)
    with pytest.raises(ClusterError, match=r"(?s)The cluster is TERMINATED_WITH_ERRORS.*again"):
        list(launcher.wait_for_completion(context, None, "run", "pca", step_id))  # type: ignore[arg-type]
    account.cluster.cancel(step_id)


def test_terminating_a_run_cancels_its_step(account: Account) -> None:
    already = set(account.cluster.begun)
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize"]
    variables = os.environ | account.variables
    with subprocess.Popen(
        [*command, "--select", "raw_images"], env=variables, stderr=subprocess.DEVNULL
    ) as run:
        while not (begun := set(account.cluster.begun) - already):
            assert run.poll() is None, "the run ended before its step began"
            time.sleep(0.2)
        step_id = begun.pop()
        run.send_signal(signal.SIGINT)
        run.wait(timeout=60)
    assert not account.cluster.is_running(step_id)
    assert account.cluster.state(step_id) == "CANCELLED"
    with dg.DagsterInstance.from_config(str(account.home)) as instance:
        assert instance.get_runs(limit=1)[0].status is not dg.DagsterRunStatus.SUCCESS


def _code() -> bytes:
    from fruits_assets.emr import code_package

    return code_package.build().content
