"""A cluster that was terminated is started again as it was, in every field EMR describes."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from fruits_assets.emr import cluster, cluster_copy
from spark_src.errors import ClusterError
from spark_src.io import aws
from tests.fruits_assets.aws import LOCK, NAME, REGION, WANTED, Emulated

ITS_OWN = ("Id", "ClusterArn", "Status", "MasterPublicDnsName", "NormalizedInstanceHours")

DESCRIBED: dict[str, Any] = {
    "Id": "j-OLD",
    "Name": NAME,
    "Status": {"State": "TERMINATED", "Timeline": {}},
    "ReleaseLabel": "emr-7.13.0",
    "LogUri": "s3n://fruits-bucket/logs/",
    "AutoTerminate": True,
    "TerminationProtected": True,
    "UnhealthyNodeReplacement": True,
    "VisibleToAllUsers": False,
    "Applications": [{"Name": "Spark", "Version": "3.5.6"}],
    "Tags": [{"Key": "aws:made-by", "Value": "AWS"}, {"Key": "team", "Value": "data"}],
    "ServiceRole": "fruits-service",
    "ScaleDownBehavior": "TERMINATE_AT_TASK_COMPLETION",
    "CustomAmiId": "ami-fruits",
    "OSReleaseLabel": "2023.8.1",
    "EbsRootVolumeIops": 3000,
    "MasterPublicDnsName": "ip-10-0-0-1",
    "Ec2InstanceAttributes": {
        "Ec2SubnetId": "subnet-b",
        "RequestedEc2SubnetIds": ["subnet-a", "subnet-b"],
        "Ec2AvailabilityZone": "eu-west-1b",
        "IamInstanceProfile": "fruits-nodes",
        "EmrManagedMasterSecurityGroup": "sg-primary",
        "AdditionalSlaveSecurityGroups": ["sg-more"],
    },
}
"""As AWS's documentation shows it, with fields that moto has not."""

VOLUME = {"VolumeType": "gp3", "SizeInGB": 64, "Throughput": 125}


def start_again(said: list[str] | None = None) -> str:
    say = (said if said is not None else []).append
    return cluster.ensure_ready(NAME, REGION, say, poll_seconds=0.05, timeout_seconds=5, lock=LOCK)


def described(cluster_id: str) -> dict[str, Any]:
    """All that EMR tells of a cluster, without what is one cluster's own."""
    client, which = aws.client("emr", REGION), {"ClusterId": cluster_id}
    whole = client.describe_cluster(**which)["Cluster"]
    groups = client.list_instance_groups(**which)["InstanceGroups"]
    groups.sort(key=lambda group: group["InstanceGroupType"])
    return {
        "cluster": {name: value for name, value in whole.items() if name not in ITS_OWN},
        "groups": [{k: v for k, v in g.items() if k not in ("Id", "Status")} for g in groups],
        "actions": client.list_bootstrap_actions(**which)["BootstrapActions"],
        "end": client.get_auto_termination_policy(**which).get("AutoTerminationPolicy"),
        "scaling": client.get_managed_scaling_policy(**which).get("ManagedScalingPolicy"),
    }


def arguments(nodes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The arguments for the described cluster, valid by boto3's own model of the call."""
    made = cluster_copy.arguments_like(DESCRIBED | changes, nodes, [])
    model = botocore.session.get_session().get_service_model("emr")
    shape = model.operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(made, shape)
    assert not report.has_errors(), report.generate_report()
    return made


def group(**fields: Any) -> dict[str, Any]:
    own = {"Id": "ig-1", "RunningInstanceCount": 0, "Status": {"State": "TERMINATED"}}
    kept = {"InstanceGroupType": "MASTER", "InstanceType": "m5.xlarge", "Market": "ON_DEMAND"}
    return own | kept | {"RequestedInstanceCount": 1} | fields


def test_the_new_cluster_is_described_as_the_old_one_was(emr: Emulated) -> None:
    old = emr.start_and_end()
    emr.age(old, 60)
    new = start_again()
    assert new != old
    assert described(new) == described(old)
    assert described(new)["end"] == WANTED["AutoTerminationPolicy"]
    assert described(new)["scaling"] == WANTED["ManagedScalingPolicy"]
    assert len(described(new)["groups"]) == 2


def test_the_newest_of_those_that_ended_is_the_model(emr: Emulated) -> None:
    older, newer = emr.start_and_end(StepConcurrencyLevel=1), emr.start_and_end()
    emr.age(older, 60)
    emr.age(newer, 30)
    new = aws.client("emr", REGION).describe_cluster(ClusterId=start_again())
    assert new["Cluster"]["StepConcurrencyLevel"] == 4


def test_it_is_said_that_and_why_a_cluster_is_started(emr: Emulated) -> None:
    emr.set_state(emr.start_and_end(), "TERMINATED", "Ended after 30 idle minutes.")
    said: list[str] = []
    start_again(said)
    (line,) = said
    assert line.startswith(f"cluster {NAME} was terminated (20")
    assert "Ended after 30 idle minutes); starting an identical one" in line
    assert "6 to 10 minutes" in line


def test_a_cluster_without_a_policy_gets_one_that_ends_it_after_an_idle_hour(
    emr: Emulated,
) -> None:
    old = emr.start_and_end()
    del emr.asked[old]["AutoTerminationPolicy"]
    said: list[str] = []
    new = start_again(said)
    assert described(new)["end"] == {"IdleTimeout": 3600}
    assert f"{old} shows no auto-termination policy" in said[1]


def test_the_new_cluster_does_the_setup_steps_again_and_no_other(emr: Emulated) -> None:
    def step(name: str) -> dict[str, Any]:
        return {
            "Name": name,
            "ActionOnFailure": "TERMINATE_CLUSTER",
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", name]},
        }

    setup = ["setup: JupyterHub's password", "setup: something after it"]
    old = emr.start(Steps=[step(setup[0]), step("pca"), step(setup[1])])
    emr.set_state(old, "TERMINATED")
    new = aws.client("emr", REGION).list_steps(ClusterId=start_again())["Steps"]
    assert [done["Name"] for done in reversed(new)] == setup
    assert new[-1]["Config"]["Args"] == ["bash", setup[0]]
    assert new[-1]["ActionOnFailure"] == "TERMINATE_CLUSTER"


def test_a_cluster_that_cannot_run_the_project_is_refused_with_the_reason(emr: Emulated) -> None:
    emr.start(ReleaseLabel="emr-6.15.0")
    with pytest.raises(ClusterError, match=r"emr-6.15.0 cannot .*Python 3.7.*Use emr-7.13.0"):
        start_again()


def test_a_new_cluster_that_fails_to_start_says_why_and_frees_the_lock(emr: Emulated) -> None:
    emr.age(emr.start_and_end(), 60)
    emr.fails_to_start = "The subnet has no free addresses"
    with pytest.raises(ClusterError, match="The subnet has no free addresses"):
        start_again()
    assert emr.lock() is None


def test_fields_that_moto_lacks_are_taken_over() -> None:
    made = arguments({"InstanceGroups": [group()]})
    for name in ("ScaleDownBehavior", "CustomAmiId", "OSReleaseLabel", "EbsRootVolumeIops"):
        assert made[name] == DESCRIBED[name]
    assert made["VisibleToAllUsers"] is False
    assert made["Instances"]["TerminationProtected"] is True
    assert made["Instances"]["UnhealthyNodeReplacement"] is True
    assert made["JobFlowRole"] == "fruits-nodes"


def test_what_emr_would_refuse_is_not_taken_over() -> None:
    made = arguments({"InstanceGroups": [group()]})
    assert made["Applications"] == [{"Name": "Spark"}]
    assert made["Tags"] == [{"Key": "team", "Value": "data"}]
    assert made["LogUri"] == "s3://fruits-bucket/logs/"
    assert "BootstrapActions" not in made


def test_the_new_cluster_stays_without_a_step_even_where_the_old_one_did_not() -> None:
    made = arguments({"InstanceGroups": [group()]})
    assert made["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True


def test_groups_lie_in_the_one_subnet_where_the_old_ones_were() -> None:
    instances = arguments({"InstanceGroups": [group()]})["Instances"]
    assert instances["Ec2SubnetId"] == "subnet-b"
    assert {"Ec2SubnetIds", "Placement"}.isdisjoint(instances)


def test_without_a_subnet_groups_lie_in_the_same_zone() -> None:
    attributes = {"Ec2AvailabilityZone": "eu-west-1b"}
    made = arguments({"InstanceGroups": [group()]}, Ec2InstanceAttributes=attributes)
    assert made["Instances"]["Placement"] == {"AvailabilityZone": "eu-west-1b"}


def test_a_group_keeps_its_disks_its_configuration_and_its_image() -> None:
    own = [{"Classification": "yarn-site", "Properties": {"a": "b"}}]
    disks = [{"Device": f"/dev/sd{letter}", "VolumeSpecification": VOLUME} for letter in "bc"]
    kept = {"Configurations": own, "CustomAmiId": "ami-core", "EbsOptimized": True}
    core = group(EbsBlockDevices=disks, RequestedInstanceCount=3, **kept)
    (made,) = arguments({"InstanceGroups": [core]})["Instances"]["InstanceGroups"]
    assert made["InstanceCount"] == 3
    assert (made["Configurations"], made["CustomAmiId"]) == (own, "ami-core")
    assert made["EbsConfiguration"] == {
        "EbsOptimized": True,
        "EbsBlockDeviceConfigs": [{"VolumeSpecification": VOLUME, "VolumesPerInstance": 2}],
    }


def test_a_groups_own_scaling_watches_the_new_cluster() -> None:
    policy = {
        "Status": {"State": "DETACHED"},
        "Constraints": {"MinCapacity": 1, "MaxCapacity": 4},
        "Rules": [
            {
                "Name": "out",
                "Action": {"SimpleScalingPolicyConfiguration": {"ScalingAdjustment": 1}},
                "Trigger": {
                    "CloudWatchAlarmDefinition": {
                        "ComparisonOperator": "LESS_THAN",
                        "MetricName": "YARNMemoryAvailablePercentage",
                        "Period": 300,
                        "Threshold": 15.0,
                        "Dimensions": [{"Key": "JobFlowId", "Value": "j-OLD"}],
                    }
                },
            }
        ],
    }
    groups = {"InstanceGroups": [group(AutoScalingPolicy=policy)]}
    (made,) = arguments(groups)["Instances"]["InstanceGroups"]
    assert set(made["AutoScalingPolicy"]) == {"Constraints", "Rules"}
    (rule,) = made["AutoScalingPolicy"]["Rules"]
    (dimension,) = rule["Trigger"]["CloudWatchAlarmDefinition"]["Dimensions"]
    assert dimension["Value"] == "${emr.clusterId}"


def test_a_group_of_no_nodes_is_left_out() -> None:
    task = group(InstanceGroupType="TASK", RequestedInstanceCount=0)
    (made,) = arguments({"InstanceGroups": [group(), task]})["Instances"]["InstanceGroups"]
    assert made["InstanceRole"] == "MASTER"


def test_fleets_keep_their_types_their_capacity_and_all_their_subnets() -> None:
    kind = {"InstanceType": "m5.xlarge", "WeightedCapacity": 4, "Priority": 1.0}
    disks = {"EbsBlockDevices": [{"Device": "/dev/sdb", "VolumeSpecification": VOLUME}]}
    wishes = {"TargetOnDemandCapacity": 0, "TargetSpotCapacity": 8}
    launch = {
        "SpotSpecification": {"TimeoutDurationMinutes": 10, "TimeoutAction": "TERMINATE_CLUSTER"}
    }
    core = {
        "Id": "if-1",
        "Name": "core",
        "InstanceFleetType": "CORE",
        "Status": {"State": "TERMINATED"},
        "ProvisionedSpotCapacity": 8,
        "LaunchSpecifications": launch,
        "InstanceTypeSpecifications": [kind | disks | {"EbsOptimized": True}],
    }
    instances = arguments({"InstanceFleets": [core | wishes]})["Instances"]
    assert instances["Ec2SubnetIds"] == ["subnet-a", "subnet-b"]
    assert {"Ec2SubnetId", "InstanceGroups"}.isdisjoint(instances)
    (made,) = instances["InstanceFleets"]
    (config,) = made.pop("InstanceTypeConfigs")
    named = {"Name": "core", "InstanceFleetType": "CORE", "LaunchSpecifications": launch}
    assert made == named | wishes
    assert config.pop("EbsConfiguration")["EbsBlockDeviceConfigs"] == [
        {"VolumeSpecification": VOLUME, "VolumesPerInstance": 1}
    ]
    assert config == kind
