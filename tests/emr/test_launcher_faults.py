"""Faults of dagster-aws's launcher that this project's launcher does not have."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster_aws.emr.emr import EmrError
from dagster_aws.emr.pyspark_step_launcher import EmrPySparkStepLauncher
from dagster_pyspark.utils import build_pyspark_zip

from fruits_assets.emr import code_package, submission
from fruits_assets.emr.launcher import launched_spark_config
from fruits_assets.emr.step import REMOTE, adopt
from fruits_assets.emr.step_definition import StepDefinition
from fruits_assets.emr.step_logs import explain_failure, read_text
from fruits_assets.emr.submission import StepFiles
from spark_src.errors import SettingsError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.spark.session import cluster_config
from tests.emr.conftest import Account, AddStep
from tests.emr.emulated_cluster import REGION

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")

STAGING = Location.parse("s3://bucket/data/staging")


@pytest.fixture
def stock(account: Account) -> Any:
    """dagster-aws's launcher, configured as in its documentation."""
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
    with pytest.raises(SettingsError, match="has no settings"):
        adopt({"FRUITS_STORAGE": "s3://bucket/data"})
    assert os.environ["FRUITS_STORAGE"] == "/left/over"
    assert REMOTE not in os.environ


def test_a_step_uses_exactly_the_settings_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"FRUITS_STORAGE": "/left/over", "FRUITS_INPUT": "/too"})
    adopt({"FRUITS_DEPLOYMENT": "emr", "FRUITS_STORAGE": "s3://bucket/data"})
    assert os.environ == {
        "FRUITS_DEPLOYMENT": "emr",
        "FRUITS_STORAGE": "s3://bucket/data",
        REMOTE: "1",
    }


def test_a_retry_reads_no_events_of_the_first_attempt(stock: Any) -> None:
    key = stock._artifact_s3_key("run", "pca", "events.pkl")
    assert "attempt" not in key, "the stock launcher is fixed: ours no longer needs this"
    first, second = (StepFiles.for_attempt(STAGING, "run", "pca", n).events for n in (0, 1))
    assert first != second


def step_config(
    account: Account, definition: StepDefinition, run_id: str = "run"
) -> dict[str, Any]:
    """EMR's description of a step of this project, with its files uploaded to the account."""
    staging = account.tables.root / "staging"
    files = StepFiles.for_attempt(staging, run_id, "pca", 0)
    package = code_package.build()
    code = code_package.push(staging / "code", REGION, package)
    sha256 = submission.put_definition(files, definition, REGION)
    config = launched_spark_config(cluster_config(), REGION)
    return submission.step_config("pca", files, sha256, code, package, REGION, config)


def test_a_failed_step_does_not_cancel_other_steps(account: Account, stock: Any) -> None:
    assert stock._get_emr_step_def("run", "pca", "pca")["ActionOnFailure"] == "CANCEL_AND_WAIT"
    assert step_config(account, StepDefinition({}, "{}"))["ActionOnFailure"] == "CONTINUE"


def test_keys_of_dynamic_steps_contain_no_brackets() -> None:
    assert "[" not in StepFiles.for_attempt(STAGING, "run", "pca[3]", 0).events.path


def test_a_crash_before_dagster_starts_is_reported_without_waiting_for_emrs_log(
    account: Account, add_step: AddStep
) -> None:
    step = step_config(account, StepDefinition({}, "{}"), "crash")
    cluster_id, step_id = add_step(step["HadoopJarStep"]["Args"])
    account.cluster.wait_for_end(step_id)
    files = StepFiles.for_attempt(account.tables.root / "staging", "crash", "pca", 0)
    state = submission.describe_step(cluster_id, step_id, REGION)
    reason = explain_failure(files, "", state, REGION, pytest.fail)
    assert state.state == "FAILED"
    assert "has no settings (FRUITS_DEPLOYMENT=emr" in reason


def test_a_step_definition_is_json_with_settings_and_step_reference(
    account: Account,
) -> None:
    settings = {"FRUITS_DEPLOYMENT": "emr"}
    files = StepFiles.for_attempt(account.tables.root / "staging", "run", "pca", 0)
    submission.put_definition(files, StepDefinition(settings, '"the step"'), REGION)
    sent = json.loads(read_text(files.definition, REGION))
    assert sent == {"settings": settings, "step": '"the step"'}


def test_the_stock_launcher_sends_no_settings_with_a_step(stock: Any, account: Account) -> None:
    stock._post_artifacts(logging.getLogger(), "the step", "stock", "pca")
    key = stock._artifact_s3_key("stock", "pca", "step_run_ref.pkl")
    body = client("s3", REGION).get_object(Bucket=account.bucket, Key=key)["Body"].read()
    assert pickle.loads(body) == "the step", "the stock launcher is fixed"


def test_the_stock_launchers_zip_contains_the_whole_folder_or_nothing(tmp_path: Path) -> None:
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
    ours = zipfile.ZipFile(io.BytesIO(code_package.build().content)).namelist()
    assert {name.split("/")[0] for name in ours} == {"fruits_assets", "spark_src"}


def test_only_our_launcher_reports_why_a_step_failed(
    stock: Any, account: Account, add_step: AddStep
) -> None:
    cluster_id, step_id = add_step(["sh", "-c", "echo the reason >&2; exit 1"])
    account.cluster.wait_for_end(step_id)
    runner = stock.emr_job_runner
    with pytest.raises(EmrError) as reason:
        runner.is_emr_step_complete(logging.getLogger(), cluster_id, step_id)
    assert "the reason" not in str(reason.value)
    state = submission.describe_step(cluster_id, step_id, REGION)
    files = StepFiles(account.tables.root / "staging" / "none")
    assert "the reason" in explain_failure(files, "", state, REGION, print)


def test_the_stock_launcher_leaves_the_step_running_when_its_run_is_terminated(
    stock: Any, account: Account, add_step: AddStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock.cluster_id, step_id = add_step(["sleep", "60"])

    def terminated(_: float) -> None:
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(
        "dagster_aws.emr.pyspark_step_launcher.time", SimpleNamespace(sleep=terminated)
    )
    with pytest.raises(DagsterExecutionInterruptedError):
        list(stock.wait_for_completion(None, None, "run", "pca", step_id))
    assert account.cluster.state(step_id) == "RUNNING", "the stock launcher is fixed"
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
