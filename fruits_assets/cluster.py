"""The EMR cluster, found by its name: started again as it was, waited for, stopped. No steps."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Any

from spark_src.aws import client, explained
from spark_src.errors import AwsError, ClusterError
from spark_src.locations import Location

Say = Callable[[str], None]
Fields = Mapping[str, Any]

READY = ("RUNNING", "WAITING")
LIVING = ("STARTING", "BOOTSTRAPPING", *READY)
USUALLY = "usually 6 to 10 minutes"

PROGRESS_SECONDS = 10.0
"""The least time between two lines that say how a start goes."""

LOCK_LASTS = timedelta(minutes=15)
"""Whoever has held the lock for longer is taken for dead."""

IDLE_SECONDS = 3600
"""When a started cluster ends itself where the last one's policy is not to be had any more."""

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


@dataclass(frozen=True)
class ClusterState:
    """A cluster as EMR lists it. `since`: ready, or begun, or ended; `reason` may be empty."""

    id: str
    name: str
    state: str
    since: datetime
    reason: str

    @classmethod
    def of(cls, cluster: Fields) -> ClusterState:
        """Read what list_clusters or describe_cluster answers."""
        status = cluster["Status"]
        times = status["Timeline"]
        since = times.get("EndDateTime") or times.get("ReadyDateTime") or times["CreationDateTime"]
        reason = status.get("StateChangeReason", {}).get("Message") or ""
        return cls(cluster["Id"], cluster["Name"], status["State"], since.astimezone(UTC), reason)


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster with what runs on it. `instances` counts the running ones of each type."""

    cluster: ClusterState
    release: str
    instances: Mapping[str, int]
    step_concurrency: int
    running_steps: tuple[str, ...]


def find(name: str, region: str) -> ClusterState | None:
    """The newest living cluster of that name; AwsError where EMR does not answer."""
    return _newest(name, region, ClusterStates=list(LIVING))


def last(name: str, region: str) -> ClusterState | None:
    """The newest cluster of that name in any state; EMR forgets after two months."""
    return _newest(name, region)


def ready(  # noqa: PLR0913 - all but the first three by name
    name: str,
    region: str,
    say: Say,
    *,
    poll_seconds: float = 15,
    timeout_seconds: float = 1800,
    lock: Location | None,
) -> str:
    """The id of a cluster that takes steps; one that was terminated is started again as it was.

    Args:
        name: the cluster's name.
        region: AWS's region.
        say: takes a line about how it goes, at most every 10 seconds while waiting.
        poll_seconds: time between two looks.
        timeout_seconds: time after which waiting ends with an error.
        lock: the S3 object that lets one of several runs start it; None: no other run is feared.

    Raises:
        ClusterError: there never was such a cluster, it fails to start, or it takes too long.
        AwsError: AWS refused or did not answer.
    """
    until = time.monotonic() + timeout_seconds
    say_seldom = _seldom(say)
    while (found := find(name, region)) is None:
        started = None
        with _held(lock, region) as holder:
            # Between the look and the lock another run may have started one and let go.
            if holder is None and find(name, region) is None:
                started = _start_again(name, region, say)
                _until_listed(name, region, started, poll_seconds, until)
        if started is not None:
            return _until_ready(started, region, say_seldom, poll_seconds, until)
        if holder is not None:
            say_seldom(f"{holder} is starting cluster {name}; waiting for it")
            _pause(poll_seconds, until, f"{name}: {holder} holds {lock}, but no cluster starts.")
    return _until_ready(found.id, region, say_seldom, poll_seconds, until)


def stop(name: str, region: str) -> ClusterState | None:
    """Terminate the living cluster and return what it was; None where none lives.

    Raises:
        ClusterError: it is protected against termination.
        AwsError: AWS refused or did not answer.
    """
    found = find(name, region)
    if found is None:
        return None
    if _described(found.id, region).get("TerminationProtected"):
        raise ClusterError(
            f"Cluster {name} ({found.id}) is protected against termination, and `stop` does not "
            "turn that off. Who may do so runs: aws emr modify-cluster-attributes --region "
            f"{region} --cluster-id {found.id} --no-termination-protected"
        )
    with explained(f"terminating cluster {found.id}"):
        client("emr", region).terminate_job_flows(JobFlowIds=[found.id])
    return found


def status(name: str, region: str) -> ClusterStatus | None:
    """The living cluster, or else the last one, as it is now; None where there never was one."""
    found = find(name, region) or last(name, region)
    if found is None:
        return None
    cluster, living = _described(found.id, region), found.state in LIVING
    running = {"InstanceStates": ["RUNNING"], "ClusterId": found.id}
    nodes = _every("list_instances", "Instances", region, **running) if living else []
    running = {"StepStates": ["RUNNING"], "ClusterId": found.id}
    steps = _every("list_steps", "Steps", region, **running) if living else []
    return ClusterStatus(
        cluster=ClusterState.of(cluster),
        release=cluster.get("ReleaseLabel", ""),
        instances=Counter(node.get("InstanceType", "unknown type") for node in nodes),
        step_concurrency=cluster.get("StepConcurrencyLevel", 1),
        running_steps=tuple(step["Name"] for step in steps),
    )


def arguments_like(cluster: Fields, nodes: Fields, actions: list[Fields]) -> dict[str, Any]:
    """What run_job_flow takes to make a cluster like one that was described.

    Args:
        cluster: describe_cluster's answer.
        nodes: `InstanceGroups` or `InstanceFleets`, as EMR listed them.
        actions: the bootstrap actions, as EMR listed them.
    """
    tags = [tag for tag in cluster.get("Tags", []) if not tag["Key"].startswith("aws:")]
    attributes = cluster.get("Ec2InstanceAttributes", {})
    instances = _same(attributes, _SAME_OF_NODES) | _placed(attributes, "InstanceFleets" in nodes)
    if "InstanceFleets" in nodes:
        fleets = nodes["InstanceFleets"]
        instances["InstanceFleets"] = [_fleet(fleet) for fleet in fleets if _wanted(fleet)]
    else:
        groups = nodes["InstanceGroups"]
        instances["InstanceGroups"] = [_group(g, cluster) for g in groups if _wanted(g)]
    # It starts without a step: without this it would end at once, whatever the last one did.
    instances["KeepJobFlowAliveWhenNoSteps"] = True
    instances |= _same(cluster, ["TerminationProtected", "UnhealthyNodeReplacement"])
    arguments = _same(cluster, _SAME) | {"Instances": instances, "Tags": tags}
    # EMR takes applications by name alone: their versions are the release's.
    arguments["Applications"] = [{"Name": app["Name"]} for app in cluster.get("Applications", [])]
    arguments["BootstrapActions"] = [_action(action) for action in actions]
    arguments["JobFlowRole"] = attributes.get("IamInstanceProfile")
    # EMR describes s3:// as s3n://, which is Hadoop's name of old.
    arguments["LogUri"] = cluster.get("LogUri", "").replace("s3n://", "s3://", 1)
    return {key: value for key, value in arguments.items() if value not in (None, "", [])}


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
    config = _same(group, _SAME_OF_GROUPS) | _disks(group)
    config["InstanceRole"] = group["InstanceGroupType"]
    config["InstanceCount"] = group["RequestedInstanceCount"]
    policy = _same(group.get("AutoScalingPolicy", {}), ["Constraints", "Rules"])
    if policy:
        # EMR put the old cluster's id where the policy said "this cluster".
        text = json.dumps(policy).replace(cluster["Id"], "${emr.clusterId}")
        config["AutoScalingPolicy"] = json.loads(text)
    return config


def _fleet(fleet: Fields) -> dict[str, Any]:
    kinds = fleet.get("InstanceTypeSpecifications", [])
    types = [_same(kind, _SAME_OF_TYPES) | _disks(kind) for kind in kinds]
    return _same(fleet, _SAME_OF_FLEETS) | {"InstanceTypeConfigs": types}


def _disks(nodes: Fields) -> dict[str, Any]:
    """EMR lists each volume of a node by itself, and takes equal ones by their number."""
    volumes = groupby(disk["VolumeSpecification"] for disk in nodes.get("EbsBlockDevices", []))
    disks = [
        {"VolumeSpecification": volume, "VolumesPerInstance": len(list(equal))}
        for volume, equal in volumes
    ]
    config = _same(nodes, ["EbsOptimized"]) | ({"EbsBlockDeviceConfigs": disks} if disks else {})
    return {"EbsConfiguration": config} if config else {}


def _action(action: Fields) -> dict[str, Any]:
    script = {"Path": action["ScriptPath"], "Args": action.get("Args", [])}
    return {"Name": action["Name"], "ScriptBootstrapAction": script}


def _same(fields: Fields, names: list[str]) -> dict[str, Any]:
    return {name: fields[name] for name in names if fields.get(name) not in (None, "", [])}


def _start_again(name: str, region: str, say: Say) -> str:
    old = last(name, region)
    if old is None:
        raise ClusterError(
            f"There is no EMR cluster named {name!r} in {region}, and there was none in the last "
            "two months. Make it with `terraform -chdir=infra apply`, or correct FRUITS_CLUSTER "
            "and FRUITS_REGION."
        )
    arguments = _arguments(old.id, region)
    why = f": {old.reason.rstrip('.')}" if old.reason else ""
    when = f"{old.since:%Y-%m-%d %H:%M} UTC"
    say(f"cluster {name} was terminated ({when}{why}); starting an identical one, {USUALLY}")
    if "AutoTerminationPolicy" not in arguments:
        arguments["AutoTerminationPolicy"] = {"IdleTimeout": IDLE_SECONDS}
        say(f"{old.id} shows no auto-termination policy; the new one ends after an idle hour")
    with explained(f"starting cluster {name}"):
        return str(client("emr", region).run_job_flow(**arguments)["JobFlowId"])


def _arguments(cluster_id: str, region: str) -> dict[str, Any]:
    cluster, which = _described(cluster_id, region), {"ClusterId": cluster_id}
    if cluster.get("InstanceCollectionType") == "INSTANCE_FLEET":
        nodes = {
            "InstanceFleets": _every("list_instance_fleets", "InstanceFleets", region, **which)
        }
    else:
        nodes = {
            "InstanceGroups": _every("list_instance_groups", "InstanceGroups", region, **which)
        }
    actions = _every("list_bootstrap_actions", "BootstrapActions", region, **which)
    arguments = arguments_like(cluster, nodes, actions)
    for policy in ("AutoTerminationPolicy", "ManagedScalingPolicy"):
        arguments |= _policy(policy, cluster_id, region)
    return arguments


def _policy(policy: str, cluster_id: str, region: str) -> dict[str, Any]:
    emr = client("emr", region)
    asks = {
        "AutoTerminationPolicy": emr.get_auto_termination_policy,
        "ManagedScalingPolicy": emr.get_managed_scaling_policy,
    }
    try:
        with explained(f"reading the {policy} of {cluster_id}"):
            return _same(asks[policy](ClusterId=cluster_id), [policy])
    except AwsError as error:
        # A cluster that has ended may have none any more, which EMR may call a bad request.
        if error.code not in ("InvalidRequestException", "ValidationException"):
            raise
        return {}


def _newest(name: str, region: str, **which: Any) -> ClusterState | None:
    every = _every("list_clusters", "Clusters", region, **which)
    named = [cluster for cluster in every if cluster["Name"] == name]
    named.sort(key=lambda cluster: cluster["Status"]["Timeline"]["CreationDateTime"])
    return ClusterState.of(named[-1]) if named else None


def _every(operation: str, key: str, region: str, **which: Any) -> list[Fields]:
    """All pages of a list; AwsError where EMR does not answer."""
    with explained(f"asking EMR in {region} ({operation})"):
        pages = client("emr", region).get_paginator(operation).paginate(**which)
        return [item for page in pages for item in page.get(key, [])]


def _described(cluster_id: str, region: str) -> dict[str, Any]:
    with explained(f"describing cluster {cluster_id}"):
        cluster: dict[str, Any] = client("emr", region).describe_cluster(ClusterId=cluster_id)
        return dict(cluster["Cluster"])


def _until_listed(name: str, region: str, started: str, poll: float, until: float) -> None:
    """Whoever waits for the lock must see the cluster in the list before the lock is let go."""
    while started not in {found["Id"] for found in _every("list_clusters", "Clusters", region)}:
        _pause(poll, until, f"Cluster {name} ({started}) was started, but EMR does not list it.")


def _until_ready(cluster_id: str, region: str, say: Say, poll: float, until: float) -> str:
    while True:
        now = ClusterState.of(_described(cluster_id, region))
        if now.state in READY:
            return cluster_id
        called = f"cluster {now.name} ({cluster_id})"
        if now.state not in LIVING:
            raise ClusterError(
                f"C{called[1:]} did not start, it is {now.state}: {now.reason or 'EMR says no why'}"
                " Its logs in S3 (LogUri) tell more; mend what they name and start it again."
            )
        say(f"{called} is {now.state.lower()}, since {now.since:%H:%M} UTC; {USUALLY} in all")
        _pause(poll, until, f"C{called[1:]} is still {now.state}. Look at it in EMR's console.")


def _pause(seconds: float, until: float, problem: str) -> None:
    if time.monotonic() + seconds > until:
        raise ClusterError(f"{problem} The time given to wait is over.")
    time.sleep(seconds)


def _seldom(say: Say) -> Say:
    said = -PROGRESS_SECONDS

    def speak(text: str) -> None:
        nonlocal said
        if time.monotonic() - said < PROGRESS_SECONDS:
            return
        said = time.monotonic()
        say(text)

    return speak


@contextmanager
def _held(lock: Location | None, region: str) -> Iterator[str | None]:
    """Hold the lock in the block; what comes is who else has it, None where this run does."""
    if lock is None:
        yield None
        return
    who = f"another run ({socket.gethostname()}, process {os.getpid()})"
    when, token = datetime.now(UTC).isoformat(), uuid.uuid4().hex
    mine = json.dumps({"who": who, "when": when, "token": token}).encode()
    holder = _take(lock, mine, region)
    try:
        yield holder
    finally:
        if holder is None:
            _let_go(lock, mine, region)


def _take(lock: Location, mine: bytes, region: str) -> str | None:
    if _put(lock, mine, region, IfNoneMatch="*"):
        return None
    content, etag, age = _look(lock, region)
    if age > LOCK_LASTS and _put(lock, mine, region, IfMatch=etag):
        return None
    try:
        return str(json.loads(content)["who"])
    except (ValueError, KeyError, TypeError):
        return "another run"


def _put(lock: Location, mine: bytes, region: str, **condition: str) -> bool:
    s3, (bucket, key) = client("s3", region), lock.path.split("/", 1)
    try:
        with explained(f"writing {lock}"):
            s3.put_object(Bucket=bucket, Key=key, Body=mine, **condition)
    except AwsError as error:
        if error.code not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
            raise
        # A try whose answer was lost may have written it before the next one was refused.
        return _look(lock, region)[0] == mine
    return True


def _look(lock: Location, region: str) -> tuple[bytes, str, timedelta]:
    """The lock's content, ETag and age by S3's own clock; empty and new where there is none."""
    s3, (bucket, key) = client("s3", region), lock.path.split("/", 1)
    try:
        with explained(f"reading {lock}"):
            found = s3.get_object(Bucket=bucket, Key=key)
            content = found["Body"].read()
    except AwsError as error:
        if error.code != "NoSuchKey":
            raise
        return b"", "", timedelta(0)
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return content, found["ETag"], now - found["LastModified"]


def _let_go(lock: Location, mine: bytes, region: str) -> None:
    s3, (bucket, key) = client("s3", region), lock.path.split("/", 1)
    try:
        content, etag, _ = _look(lock, region)
        if content == mine:
            with explained(f"deleting {lock}"):
                s3.delete_object(Bucket=bucket, Key=key, IfMatch=etag)
    except AwsError:
        return  # the cluster starts all the same, and others break a lock that is too old
