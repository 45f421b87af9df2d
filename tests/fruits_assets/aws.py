"""AWS for the cluster's tests: moto's server, extended with missing behaviour of EMR."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from moto.core.responses import ActionResult
from moto.emr.models import Cluster, emr_backends
from moto.emr.responses import ElasticMapReduceResponse
from moto.s3.models import s3_backends

from spark_src.io import aws
from spark_src.io.locations import Location
from tests.conftest import new_bucket

REGION = "eu-west-1"
NAME = "fruits-features"
STORAGE = Location.parse("s3://fruits-bucket/data")
LOCK = STORAGE / "locks" / f"cluster-{NAME}.json"
JOB_FLOW = Location.parse(f"s3://fruits-bucket/cluster/{NAME}.json")
_ACCOUNT = "123456789012"

WANTED: dict[str, Any] = {
    "Name": NAME,
    "ReleaseLabel": "emr-7.13.0",
    "LogUri": "s3://fruits-bucket/logs/",
    "Applications": [{"Name": "Spark"}, {"Name": "JupyterHub"}],
    "Configurations": [
        {"Classification": "spark-defaults", "Properties": {"spark.executor.cores": "4"}}
    ],
    "Instances": {
        "InstanceGroups": [
            {
                "Name": "primary",
                "InstanceRole": "MASTER",
                "InstanceType": "m5.xlarge",
                "InstanceCount": 1,
                "Market": "ON_DEMAND",
            },
            {
                "Name": "core",
                "InstanceRole": "CORE",
                "InstanceType": "m5.2xlarge",
                "InstanceCount": 2,
                "Market": "SPOT",
                "BidPrice": "0.3",
                "EbsConfiguration": {
                    "EbsBlockDeviceConfigs": [
                        {
                            "VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 64},
                            "VolumesPerInstance": 2,
                        }
                    ]
                },
            },
        ],
        "Ec2SubnetId": "subnet-fruits",
        "Ec2KeyName": "fruits-key",
        "EmrManagedMasterSecurityGroup": "sg-primary",
        "EmrManagedSlaveSecurityGroup": "sg-core",
        "ServiceAccessSecurityGroup": "sg-service",
        "AdditionalMasterSecurityGroups": ["sg-notebooks"],
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    },
    "BootstrapActions": [
        {
            "Name": "unpack the environment",
            "ScriptBootstrapAction": {
                "Path": "s3://fruits-bucket/cluster/unpack.sh",
                "Args": ["s3://fruits-bucket/cluster/environment.tar.gz", "/opt/fruits"],
            },
        }
    ],
    "JobFlowRole": "fruits-nodes",
    "ServiceRole": "fruits-service",
    "AutoScalingRole": "fruits-scaling",
    "SecurityConfiguration": "fruits-encryption",
    "StepConcurrencyLevel": 4,
    "EbsRootVolumeSize": 30,
    "VisibleToAllUsers": True,
    "Tags": [{"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"}],
    "AutoTerminationPolicy": {"IdleTimeout": 1800},
    "ManagedScalingPolicy": {
        "ComputeLimits": {
            "UnitType": "Instances",
            "MinimumCapacityUnits": 2,
            "MaximumCapacityUnits": 6,
        }
    },
}
"""Start arguments that set every field supported by moto."""


class Emulated:
    """Emulated EMR and S3, with methods to change state that has no AWS call."""

    def __init__(self) -> None:
        self.slow_seconds = 0.0
        self.fails_to_start = ""
        self.asked: dict[str, dict[str, Any]] = {}

    @property
    def clusters(self) -> dict[str, Cluster]:
        return emr_backends[_ACCOUNT][REGION].clusters

    def start(self, **changes: Any) -> str:
        return str(aws.client("emr", REGION).run_job_flow(**(WANTED | changes))["JobFlowId"])

    def start_and_end(self, **changes: Any) -> str:
        started = self.start(**changes)
        aws.client("emr", REGION).terminate_job_flows(JobFlowIds=[started])
        return started

    def age(self, cluster_id: str, minutes: float) -> None:
        self.clusters[cluster_id].creation_datetime -= timedelta(minutes=minutes)

    def set_state(self, cluster_id: str, state: str, reason: str | None = None) -> None:
        self.clusters[cluster_id].state = state
        self.clusters[cluster_id].last_state_change_reason = reason

    def write_job_flow(self, content: bytes | None) -> None:
        """Write the start arguments like Terraform does; None deletes them."""
        bucket, key = JOB_FLOW.bucket_and_key
        if content is None:
            aws.client("s3", REGION).delete_object(Bucket=bucket, Key=key)
        else:
            aws.client("s3", REGION).put_object(Bucket=bucket, Key=key, Body=content)

    def write_lock(self, content: bytes, minutes_old: float) -> None:
        bucket, key = LOCK.path.split("/", 1)
        aws.client("s3", REGION).put_object(Bucket=bucket, Key=key, Body=content)
        kept = s3_backends[_ACCOUNT]["aws"].buckets[bucket].keys[key]
        kept.last_modified -= timedelta(minutes=minutes_old)

    def lock(self) -> bytes | None:
        bucket, key = LOCK.path.split("/", 1)
        s3 = aws.client("s3", REGION)
        if not s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]:
            return None
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def emulated(monkeypatch: pytest.MonkeyPatch) -> Emulated:
    """The suite's AWS, without clusters and with one empty bucket."""
    emr_backends[_ACCOUNT][REGION].reset()
    for buckets in (s3_backends[_ACCOUNT]["aws"].buckets, s3_backends.bucket_accounts):
        buckets.pop("fruits-bucket", None)
    state = Emulated()
    _patch_moto(monkeypatch, state)
    new_bucket(REGION, "fruits-bucket")
    state.write_job_flow(json.dumps(WANTED).encode())
    return state


def _patch_moto(monkeypatch: pytest.MonkeyPatch, state: Emulated) -> None:
    """Patch moto to store the two policies and to start clusters slowly."""
    emr = ElasticMapReduceResponse
    run_job_flow = emr.run_job_flow

    def run(self: ElasticMapReduceResponse) -> ActionResult:
        time.sleep(state.slow_seconds)
        result = run_job_flow(self)
        started = result.result["JobFlowId"]
        policies = ("AutoTerminationPolicy", "ManagedScalingPolicy")
        state.asked[started] = {
            name: policy for name in policies if (policy := self._get_param(name))
        }
        if state.fails_to_start:
            state.set_state(started, "TERMINATED_WITH_ERRORS", state.fails_to_start)
        return result

    def policy(name: str) -> Any:
        def get(self: ElasticMapReduceResponse) -> ActionResult:
            asked = state.asked[self._get_param("ClusterId")]
            return ActionResult({name: asked[name]} if name in asked else {})

        return get

    # moto does not know the region of requests to a local endpoint.
    monkeypatch.setattr(emr, "default_region", REGION)
    monkeypatch.setattr(emr, "run_job_flow", run)
    for name, method in (
        ("AutoTerminationPolicy", "get_auto_termination_policy"),
        ("ManagedScalingPolicy", "get_managed_scaling_policy"),
    ):
        monkeypatch.setattr(emr, method, policy(name), raising=False)
