"""EMR's documented rules that moto lacks, and how the launcher handles them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from fruits_assets.emr import submission
from fruits_assets.emr.launcher import FruitsStepLauncher, LaunchedStep, Polling
from fruits_assets.emr.step_logs import explain_failure
from fruits_assets.emr.submission import StepFiles
from spark_src.errors import AwsError, ClusterError
from spark_src.io import aws
from spark_src.io.aws import client
from tests.emr.conftest import Account, AddStep
from tests.emr.emulated_cluster import REGION, start_cluster

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")

ENDING = "fruits-ending"


@pytest.fixture
def ended(account: Account) -> str:
    """A terminated cluster."""
    found = start_cluster(ENDING, f"s3://{account.bucket}/logs/")
    client("emr", REGION).terminate_job_flows(JobFlowIds=[found])
    return found


def a_step(action: str = "CONTINUE", argument: str = "true") -> dict[str, Any]:
    jar = {"Jar": "command-runner.jar", "Args": [argument]}
    return {"Name": "test", "ActionOnFailure": action, "HadoopJarStep": jar}


@pytest.mark.parametrize("action", ["TERMINATE_CLUSTER", "CANCEL_AND_WAIT"])
def test_a_cluster_that_runs_several_steps_refuses_actions_on_failure(
    account: Account, action: str
) -> None:
    cluster_id = start_cluster(ENDING, f"s3://{account.bucket}/logs/")
    with pytest.raises(AwsError, match="not supported at a step concurrency level"):
        submission.add_step(cluster_id, a_step(action), REGION)


def test_an_argument_that_is_too_long_is_refused(account: Account) -> None:
    cluster_id = start_cluster(ENDING, f"s3://{account.bucket}/logs/")
    with pytest.raises(AwsError, match="less than or equal to 10280"):
        submission.add_step(cluster_id, a_step(argument="x" * 10_281), REGION)


def test_a_step_for_a_terminated_cluster_is_not_added_and_not_an_error(ended: str) -> None:
    assert submission.add_step(ended, a_step(), REGION) is None


def test_a_step_of_a_terminated_cluster_needs_no_cancellation(ended: str) -> None:
    assert "ended with cluster" in submission.cancel_step(ended, "s-1", REGION)


def test_a_cluster_that_terminates_during_a_step_is_reported_immediately(account: Account) -> None:
    found = start_cluster(ENDING, f"s3://{account.bucket}/logs/")
    step_id = submission.add_step(found, a_step(), REGION)
    assert step_id is not None
    client("emr", REGION).terminate_job_flows(JobFlowIds=[found])
    with pytest.raises(ClusterError, match=r"(?s)The cluster is TERMINATED.*again"):
        follow(account, found, step_id)


def follow(account: Account, cluster_id: str, step_id: str) -> None:
    """Follow a step that has no events, as the launcher does."""
    context: Any = SimpleNamespace(
        log=logging.getLogger(), step=SimpleNamespace(key="pca"), run_id="run"
    )
    launcher = FruitsStepLauncher(
        cluster_name=ENDING,
        region=REGION,
        storage=account.tables.root,
        settings={},
        spark_config={},
        polling=Polling(first_seconds=0.1, longest_seconds=0.5, log_seconds=0.1),
    )
    files = StepFiles(account.tables.root / "staging" / "none")
    assert list(launcher.follow(LaunchedStep(context, cluster_id, step_id, files))) == []


def test_a_step_is_followed_while_emr_throttles_longer_than_boto3_retries(
    account: Account,
    add_step: AddStep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster_id, step_id = add_step(["sleep", "1"])
    monkeypatch.setattr(aws, "_ATTEMPTS", 1)
    aws.reset_clients()
    account.emr.throttled["describe_step"] = 2
    follow(account, cluster_id, step_id)
    assert account.emr.throttled["describe_step"] == 0
    assert caplog.text.count("The step continues and is polled again") == 2
    assert account.cluster.state(step_id) == "COMPLETED"


def test_a_step_on_an_inaccessible_cluster_is_not_followed(account: Account) -> None:
    with pytest.raises(AwsError, match="is not valid"):
        follow(account, "j-UNKNOWN", "s-1")


@pytest.fixture
def late(account: Account) -> Iterator[None]:
    """EMR copies logs after half a second."""
    account.cluster.log_delay_seconds = 0.5
    yield
    account.cluster.log_delay_seconds = 0


@pytest.mark.usefixtures("late")
def test_waiting_for_emrs_log_is_reported(account: Account, add_step: AddStep) -> None:
    cluster_id, step_id = add_step(["sh", "-c", "echo the reason >&2; exit 1"])
    account.cluster.wait_for_end(step_id)
    said: list[str] = []
    files = StepFiles(account.tables.root / "staging" / "none")
    state = submission.describe_step(cluster_id, step_id, REGION)
    reason = explain_failure(files, "", state, REGION, said.append, timeout_seconds=10)
    assert "the reason" in reason and state.log_file in reason
    assert len(said) == 1 and f"copies the step's log to {state.log_file}" in said[0]


def test_a_missing_log_is_named(account: Account, add_step: AddStep) -> None:
    account.cluster.log_delay_seconds = 600
    cluster_id, step_id = add_step(["sh", "-c", "exit 1"])
    account.cluster.wait_for_end(step_id)
    account.cluster.log_delay_seconds = 0
    files = StepFiles(account.tables.root / "staging" / "none")
    state = submission.describe_step(cluster_id, step_id, REGION)
    started = time.monotonic()
    reason = explain_failure(files, "", state, REGION, print, timeout_seconds=1)
    assert time.monotonic() - started < 5
    assert reason == f"EMR has not copied its log yet. It will be in {state.log_file}"


VALID: dict[str, Any] = {
    "Name": "c",
    "ReleaseLabel": "emr-7.13.0",
    "JobFlowRole": "node",
    "ServiceRole": "service",
    "StepConcurrencyLevel": 2,
    "Instances": {
        "InstanceGroups": [
            {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1}
        ]
    },
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ServiceRole": ""}, "ServiceRole"),
        ({"ReleaseLabel": "7.13"}, "release label is invalid"),
        ({"StepConcurrencyLevel": 500}, "StepConcurrencyLevel"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 5}}, "IdleTimeout"),
        ({"Steps": [a_step("TERMINATE_CLUSTER")]}, "step concurrency level"),
        ({"Instances": {"KeepJobFlowAliveWhenNoSteps": True}}, "instance groups"),
    ],
)
def test_emr_refuses_invalid_arguments_of_a_new_cluster(
    account: Account,  # noqa: ARG001
    change: dict[str, Any],
    said: str,
) -> None:
    emr = client("emr", REGION)
    with pytest.raises(ClientError, match=said):
        emr.run_job_flow(**(VALID | change))
    with pytest.raises(ParamValidationError, match="Unknown parameter"):
        emr.run_job_flow(**VALID, Colour="red")
