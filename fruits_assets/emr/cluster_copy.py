"""What EMR tells of a cluster, as the arguments that start one like it. No calls to AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

Fields = Mapping[str, Any]

SETUP = "setup: "
"""How the names of the steps begin that belong to the cluster and not to a run."""

_SAME = [
    "Name",
    "ReleaseLabel",
    "LogEncryptionKmsKeyId",
    "Configurations",
    "ServiceRole",
    "SecurityConfiguration",
    "StepConcurrencyLevel",
    "CustomAmiId",
    "EbsRootVolumeSize",
    "EbsRootVolumeIops",
    "EbsRootVolumeThroughput",
    "ScaleDownBehavior",
    "AutoScalingRole",
    "VisibleToAllUsers",
    "OSReleaseLabel",
]
_SAME_OF_NODES = [
    "Ec2KeyName",
    "EmrManagedMasterSecurityGroup",
    "EmrManagedSlaveSecurityGroup",
    "ServiceAccessSecurityGroup",
    "AdditionalMasterSecurityGroups",
    "AdditionalSlaveSecurityGroups",
]
_SAME_OF_GROUPS = ["Name", "Market", "BidPrice", "InstanceType", "Configurations", "CustomAmiId"]
_SAME_OF_FLEETS = [
    "Name",
    "InstanceFleetType",
    "TargetOnDemandCapacity",
    "TargetSpotCapacity",
    "LaunchSpecifications",
    "ResizeSpecifications",
    "Context",
]
_SAME_OF_TYPES = [
    "InstanceType",
    "WeightedCapacity",
    "BidPrice",
    "BidPriceAsPercentageOfOnDemandPrice",
    "Configurations",
    "CustomAmiId",
    "Priority",
]


def arguments_like(cluster: Fields, nodes: Fields, actions: list[Fields]) -> dict[str, Any]:
    """What run_job_flow takes to make a cluster like one that was described.

    Args:
        cluster: describe_cluster's answer.
        nodes: `InstanceGroups` or `InstanceFleets`, as EMR listed them.
        actions: the bootstrap actions, as EMR listed them.
    """
    tags = [tag for tag in cluster.get("Tags", []) if not tag["Key"].startswith("aws:")]
    attributes = cluster.get("Ec2InstanceAttributes", {})
    instances = pick(attributes, _SAME_OF_NODES) | _placed(attributes, "InstanceFleets" in nodes)
    if "InstanceFleets" in nodes:
        fleets = nodes["InstanceFleets"]
        instances["InstanceFleets"] = [_fleet(fleet) for fleet in fleets if _wanted(fleet)]
    else:
        groups = nodes["InstanceGroups"]
        instances["InstanceGroups"] = [_group(g, cluster) for g in groups if _wanted(g)]
    # It starts without a step: without this it would end at once, whatever the last one did.
    instances["KeepJobFlowAliveWhenNoSteps"] = True
    instances |= pick(cluster, ["TerminationProtected", "UnhealthyNodeReplacement"])
    arguments = pick(cluster, _SAME) | {"Instances": instances, "Tags": tags}
    # EMR takes applications by name alone: their versions are the release's.
    arguments["Applications"] = [{"Name": app["Name"]} for app in cluster.get("Applications", [])]
    arguments["BootstrapActions"] = [_action(action) for action in actions]
    arguments["JobFlowRole"] = attributes.get("IamInstanceProfile")
    # EMR describes s3:// as s3n://, which is Hadoop's name of old.
    arguments["LogUri"] = cluster.get("LogUri", "").replace("s3n://", "s3://", 1)
    return {key: value for key, value in arguments.items() if value not in (None, "", [])}


def setup_steps(steps: list[Fields]) -> list[dict[str, Any]]:
    """The steps that a new cluster has to do again, e.g. to replace JupyterHub's password.

    Args:
        steps: as EMR listed them, the newest first.
    """
    setup = [step for step in reversed(steps) if step["Name"].startswith(SETUP)]
    return [
        pick(step, ["Name", "ActionOnFailure"]) | {"HadoopJarStep": _jar(step["Config"])}
        for step in setup
    ]


def _jar(config: Fields) -> dict[str, Any]:
    properties = [{"Key": k, "Value": v} for k, v in config.get("Properties", {}).items()]
    return pick(
        dict(config) | {"Properties": properties}, ["Jar", "MainClass", "Args", "Properties"]
    )


def _placed(attributes: Fields, fleets: bool) -> dict[str, Any]:
    """Where the nodes were: fleets choose among what was asked for, groups have one place."""
    subnet, zone = attributes.get("Ec2SubnetId"), attributes.get("Ec2AvailabilityZone")
    if fleets and attributes.get("RequestedEc2SubnetIds"):
        return {"Ec2SubnetIds": attributes["RequestedEc2SubnetIds"]}
    if subnet:
        return {"Ec2SubnetIds": [subnet]} if fleets else {"Ec2SubnetId": subnet}
    return {"Placement": {"AvailabilityZone": zone}} if zone else {}


def _wanted(nodes: Fields) -> bool:
    sizes = ("RequestedInstanceCount", "TargetOnDemandCapacity", "TargetSpotCapacity")
    return any(nodes.get(size) for size in sizes)


def _group(group: Fields, cluster: Fields) -> dict[str, Any]:
    config = pick(group, _SAME_OF_GROUPS) | _disks(group)
    config["InstanceRole"] = group["InstanceGroupType"]
    config["InstanceCount"] = group["RequestedInstanceCount"]
    policy = pick(group.get("AutoScalingPolicy", {}), ["Constraints", "Rules"])
    if policy:
        # EMR put the old cluster's id where the policy said "this cluster".
        text = json.dumps(policy).replace(cluster["Id"], "${emr.clusterId}")
        config["AutoScalingPolicy"] = json.loads(text)
    return config


def _fleet(fleet: Fields) -> dict[str, Any]:
    kinds = fleet.get("InstanceTypeSpecifications", [])
    types = [pick(kind, _SAME_OF_TYPES) | _disks(kind) for kind in kinds]
    return pick(fleet, _SAME_OF_FLEETS) | {"InstanceTypeConfigs": types}


def _disks(nodes: Fields) -> dict[str, Any]:
    """EMR lists each volume of a node by itself, and takes equal ones by their number."""
    volumes = groupby(disk["VolumeSpecification"] for disk in nodes.get("EbsBlockDevices", []))
    disks = [
        {"VolumeSpecification": volume, "VolumesPerInstance": len(list(equal))}
        for volume, equal in volumes
    ]
    config = pick(nodes, ["EbsOptimized"]) | ({"EbsBlockDeviceConfigs": disks} if disks else {})
    return {"EbsConfiguration": config} if config else {}


def _action(action: Fields) -> dict[str, Any]:
    script = {"Path": action["ScriptPath"], "Args": action.get("Args", [])}
    return {"Name": action["Name"], "ScriptBootstrapAction": script}


def pick(fields: Fields, names: list[str]) -> dict[str, Any]:
    """The fields of these names that say something."""
    return {name: fields[name] for name in names if fields.get(name) not in (None, "", [])}
