"""The Terraform plan was reviewed, and the next start of the cluster equals the first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator

from tests.infra import planned
from tests.infra.module import NoProviderError, copy, init

TABLES = planned.TABLES


def table(name: str) -> dict[str, Any]:
    """Read a reviewed table."""
    found: dict[str, Any] = yaml.safe_load((TABLES / f"{name}.yaml").read_text())
    return found


@pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform on this machine")
def test_the_plan_equals_the_reviewed_tables(tmp_path: Path) -> None:
    module = copy(tmp_path / "module")
    try:
        init(module)
    except NoProviderError:
        pytest.skip("no provider: neither Terraform's registry nor a stand-in")
    assert planned.differences(module) == ""


@pytest.fixture(params=["roles", "options"])
def both(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first cluster, and the arguments with which `fruits` starts the next one."""
    planned_there = table("roles") | table(request.param)
    first = planned_there["aws_emr_cluster.this[0]"]
    return first, planned_there["aws_s3_object.job_flow"]["content"]


def test_boto3_accepts_the_arguments_of_the_next_start(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    model = botocore.session.get_session().get_service_model("emr")
    shape = model.operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(both[1], shape)
    assert not report.has_errors(), report.generate_report()


def test_the_next_cluster_equals_the_first(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, following = both
    where, instances = first["ec2_attributes"][0], following["Instances"]
    assert following["Name"] == first["name"]
    assert following["ReleaseLabel"] == first["release_label"]
    assert "OSReleaseLabel" not in following
    assert sorted(app["Name"] for app in following["Applications"]) == first["applications"]
    assert following["ServiceRole"] == first["service_role"]
    assert following["JobFlowRole"] == where["instance_profile"]
    assert following["SecurityConfiguration"] == first["security_configuration"]
    assert following["Configurations"] == first["configurations_json"]
    assert following["LogUri"] == first["log_uri"]
    assert following["LogEncryptionKmsKeyId"] == first["log_encryption_kms_key_id"]
    assert following["EbsRootVolumeSize"] == first["ebs_root_volume_size"]
    assert following["StepConcurrencyLevel"] == first["step_concurrency_level"]
    assert {tag["Key"]: tag["Value"] for tag in following["Tags"]} == first["tags"]
    assert instances["Ec2SubnetId"] == where["subnet_id"]
    assert instances["EmrManagedMasterSecurityGroup"] == where["emr_managed_master_security_group"]
    assert instances["EmrManagedSlaveSecurityGroup"] == where["emr_managed_slave_security_group"]
    assert instances["ServiceAccessSecurityGroup"] == where["service_access_security_group"]
    assert instances.get("Ec2KeyName") == where.get("key_name")
    policy = first["auto_termination_policy"][0]["idle_timeout"]
    assert following["AutoTerminationPolicy"] == {"IdleTimeout": policy}
    assert [
        (action["Name"], *action["ScriptBootstrapAction"].values())
        for action in following["BootstrapActions"]
    ] == [
        (action["name"], action.get("args"), action["path"])
        if action.get("args")
        else (action["name"], action["path"])
        for action in first["bootstrap_action"]
    ]


def test_the_next_cluster_scales_like_the_first(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    _, following = both
    tables = [table("roles"), table("options")]
    address = "aws_emr_managed_scaling_policy.this[0]"
    limits = [found[address]["compute_limits"][0] for found in tables if address in found]
    scaling = following["ManagedScalingPolicy"]["ComputeLimits"]
    assert {
        "unit_type": scaling["UnitType"],
        "minimum_capacity_units": scaling["MinimumCapacityUnits"],
        "maximum_capacity_units": scaling["MaximumCapacityUnits"],
        "maximum_core_capacity_units": scaling["MaximumCoreCapacityUnits"],
        "maximum_ondemand_capacity_units": scaling["MaximumOnDemandCapacityUnits"],
    } in limits
