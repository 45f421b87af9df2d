"""A terminated cluster is started again with the arguments that Terraform wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fruits_assets.emr import cluster
from spark_src.errors import ClusterError
from spark_src.io import aws
from tests.fruits_assets.aws import JOB_FLOW, NAME, REGION, STORAGE, WANTED, Emulated


def start_again(said: list[str] | None = None) -> str:
    say = (said if said is not None else []).append
    return cluster.ensure_ready(
        NAME, REGION, say, poll_seconds=0.05, timeout_seconds=5, storage=STORAGE
    )


def described(cluster_id: str) -> dict[str, Any]:
    """The properties of a cluster that its start arguments determine."""
    client, which = aws.client("emr", REGION), {"ClusterId": cluster_id}
    whole = client.describe_cluster(**which)["Cluster"]
    groups = client.list_instance_groups(**which)["InstanceGroups"]
    return {
        "concurrency": whole["StepConcurrencyLevel"],
        "configuration": whole["SecurityConfiguration"],
        "tags": whole["Tags"],
        "sizes": {g["InstanceGroupType"]: g["RequestedInstanceCount"] for g in groups},
        "actions": [a["Name"] for a in client.list_bootstrap_actions(**which)["BootstrapActions"]],
        "end": client.get_auto_termination_policy(**which).get("AutoTerminationPolicy"),
        "scaling": client.get_managed_scaling_policy(**which).get("ManagedScalingPolicy"),
    }


def test_the_new_cluster_has_its_policies_its_size_and_its_setup(emr: Emulated) -> None:
    old = emr.start_and_end()
    # Like EMR: a terminated cluster has no policies, and scaling has changed its size.
    emr.asked[old] = {}
    grown = WANTED["Instances"]["InstanceGroups"]
    new = described(start_again())
    assert new == {
        "concurrency": WANTED["StepConcurrencyLevel"],
        "configuration": WANTED["SecurityConfiguration"],
        "tags": WANTED["Tags"],
        "sizes": {group["InstanceRole"]: group["InstanceCount"] for group in grown},
        "actions": [action["Name"] for action in WANTED["BootstrapActions"]],
        "end": WANTED["AutoTerminationPolicy"],
        "scaling": WANTED["ManagedScalingPolicy"],
    }


def test_the_arguments_of_terraform_are_used_and_not_those_of_the_last_cluster(
    emr: Emulated,
) -> None:
    emr.start_and_end(StepConcurrencyLevel=1, Tags=[{"Key": "team", "Value": "old"}])
    assert described(start_again())["concurrency"] == WANTED["StepConcurrencyLevel"]


def test_the_start_of_a_cluster_is_reported_with_the_reason(emr: Emulated) -> None:
    emr.set_state(emr.start_and_end(), "TERMINATED", "Ended after 30 idle minutes.")
    said: list[str] = []
    start_again(said)
    (line,) = said
    assert line.startswith(f"cluster {NAME} was terminated (20")
    assert "Ended after 30 idle minutes); starting it again" in line
    assert "6 to 10 minutes" in line


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not JSON", "is not JSON"),
        (b"[]", "lacks Name"),
        (json.dumps({"Name": NAME, "Instances": {}}).encode(), "lacks ReleaseLabel, AutoTerm"),
        (json.dumps(WANTED | {"Name": "another"}).encode(), "is for 'another'"),
    ],
)
def test_start_arguments_of_another_cluster_are_refused(
    emr: Emulated, content: bytes, problem: str
) -> None:
    emr.write_job_flow(content)
    with pytest.raises(ClusterError, match="make up") as raised:
        start_again()
    assert problem in str(raised.value) and str(JOB_FLOW) in str(raised.value)
    assert (list(emr.clusters), emr.lock()) == ([], None)


def test_a_cluster_that_cannot_run_the_project_is_refused_with_the_reason(emr: Emulated) -> None:
    emr.start(ReleaseLabel="emr-6.15.0")
    with pytest.raises(ClusterError, match=r"emr-6.15.0 cannot .*Use emr-7.13.0"):
        start_again()


def test_a_new_cluster_that_fails_to_start_is_reported_and_frees_the_lock(emr: Emulated) -> None:
    emr.fails_to_start = "bootstrap action 1 returned a non-zero return code"
    with pytest.raises(ClusterError, match=r"bootstrap action 1.*LogUri"):
        start_again()
    assert emr.lock() is None
