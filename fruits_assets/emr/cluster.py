"""Find the EMR cluster by name, start it, wait for it and stop it.

Steps are handled in `submission`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from fruits_assets.emr import job_flow
from fruits_assets.emr.lock import acquire_lock
from spark_src.contract import rejection_reason
from spark_src.errors import ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from botocore.paginate import Paginator

Say = Callable[[str], None]
Fields = Mapping[str, Any]
_Listing = Literal["list_clusters", "list_instances", "list_steps"]

READY = ("RUNNING", "WAITING")
LIVING = ("STARTING", "BOOTSTRAPPING", *READY)
USUALLY = "usually 6 to 10 minutes"

PROGRESS_SECONDS = 10.0
"""Minimum time between two progress lines during start-up."""


@dataclass(frozen=True)
class ClusterState:
    """A cluster as listed by EMR. `since`: when it ended, was ready or was created."""

    id: str
    name: str
    state: str
    since: datetime
    reason: str

    @classmethod
    def from_response(cls, cluster: Fields) -> ClusterState:
        """Parse a cluster in the response of list_clusters or describe_cluster."""
        status = cluster["Status"]
        times = status["Timeline"]
        since = times.get("EndDateTime") or times.get("ReadyDateTime") or times["CreationDateTime"]
        reason = status.get("StateChangeReason", {}).get("Message") or ""
        return cls(cluster["Id"], cluster["Name"], status["State"], since.astimezone(UTC), reason)


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster with its running steps, and its running instances by type."""

    cluster: ClusterState
    release: str
    instances: Mapping[str, int]
    step_concurrency: int
    running_steps: tuple[str, ...]


def find(name: str, region: str) -> ClusterState | None:
    """The newest active cluster of that name; AwsError if EMR does not respond."""
    return _newest(name, region, ClusterStates=list(LIVING))


def find_last(name: str, region: str) -> ClusterState | None:
    """The newest cluster of that name in any state; EMR lists it for two months."""
    return _newest(name, region)


def describe(cluster_id: str, region: str) -> ClusterState:
    """The current state of a cluster; AwsError if EMR does not respond."""
    return ClusterState.from_response(_describe_cluster(cluster_id, region))


def ensure_ready(  # noqa: PLR0913 - all but the first three by name
    name: str,
    region: str,
    say: Say,
    *,
    poll_seconds: float = 15,
    timeout_seconds: float = 1800,
    storage: Location,
) -> str:
    """Start the cluster unless it is active, wait until it accepts steps, and return its id.

    Args:
        name: the cluster's name.
        region: the AWS region.
        say: called with progress lines, at most every 10 seconds while waiting.
        poll_seconds: time between two polls.
        timeout_seconds: maximum time to wait.
        storage: the storage of the assets. In S3 it has the cluster's start arguments, and the lock
            that lets only one of several runs start the cluster.

    Raises:
        ClusterError: there are no start arguments, the cluster fails to start, or it takes too
            long.
        AwsError: AWS refused or did not respond.
    """
    until = time.monotonic() + timeout_seconds
    say_throttled, lock = _throttled(say), job_flow.lock(storage, name)
    while (found := find(name, region)) is None:
        started = None
        with acquire_lock(lock, region) as holder:
            # Another run may have started one and released the lock since `find` was called.
            if holder is None and find(name, region) is None:
                started = _start(name, region, say, storage)
                _until_listed(name, region, started, poll_seconds, until)
        if started is not None:
            return _until_ready(started, region, say_throttled, poll_seconds, until)
        if holder is not None:
            say_throttled(f"{holder} is starting cluster {name}; waiting for it")
            _pause(poll_seconds, until, f"{name}: {holder} holds {lock}, but no cluster starts.")
    return _until_ready(found.id, region, say_throttled, poll_seconds, until)


def stop(name: str, region: str) -> ClusterState | None:
    """Terminate the active cluster and return its former state; None if none is active.

    Raises:
        ClusterError: it has termination protection.
        AwsError: AWS refused or did not respond.
    """
    found = find(name, region)
    if found is None:
        return None
    if _describe_cluster(found.id, region).get("TerminationProtected"):
        raise ClusterError(
            f"Cluster {name} ({found.id}) has termination protection, which `stop` does not turn "
            "off. To turn it off, run: aws emr modify-cluster-attributes --region "
            f"{region} --cluster-id {found.id} --no-termination-protected"
        )
    with aws_errors(f"terminating cluster {found.id}"):
        client("emr", region).terminate_job_flows(JobFlowIds=[found.id])
    return found


def status(name: str, region: str) -> ClusterStatus | None:
    """The status of the active cluster, or of the last one; None if EMR lists none."""
    found = find(name, region) or find_last(name, region)
    if found is None:
        return None
    cluster, living = _describe_cluster(found.id, region), found.state in LIVING
    running = {"InstanceStates": ["RUNNING"], "ClusterId": found.id}
    nodes = _list_all("list_instances", "Instances", region, **running) if living else []
    running = {"StepStates": ["RUNNING"], "ClusterId": found.id}
    steps = _list_all("list_steps", "Steps", region, **running) if living else []
    return ClusterStatus(
        cluster=ClusterState.from_response(cluster),
        release=cluster.get("ReleaseLabel", ""),
        instances=Counter(node.get("InstanceType", "unknown type") for node in nodes),
        step_concurrency=cluster.get("StepConcurrencyLevel", 1),
        running_steps=tuple(step["Name"] for step in steps),
    )


def _start(name: str, region: str, say: Say, storage: Location) -> str:
    arguments = job_flow.arguments(storage, name, region)
    last = find_last(name, region)
    if last is None:
        say(f"starting cluster {name}, {USUALLY}")
    else:
        why = f": {last.reason.rstrip('.')}" if last.reason else ""
        when = f"{last.since:%Y-%m-%d %H:%M} UTC"
        say(f"cluster {name} was terminated ({when}{why}); starting it again, {USUALLY}")
    with aws_errors(f"starting cluster {name}"):
        return str(client("emr", region).run_job_flow(**arguments)["JobFlowId"])


def _newest(name: str, region: str, **which: Any) -> ClusterState | None:
    clusters = _list_all("list_clusters", "Clusters", region, **which)
    matching = [cluster for cluster in clusters if cluster["Name"] == name]
    matching.sort(key=lambda cluster: cluster["Status"]["Timeline"]["CreationDateTime"])
    return ClusterState.from_response(matching[-1]) if matching else None


def _list_all(operation: _Listing, key: str, region: str, **which: Any) -> list[Fields]:
    """All pages of a list operation; AwsError if EMR does not respond."""
    with aws_errors(f"calling EMR in {region} ({operation})"):
        paginator: Paginator[Any] = client("emr", region).get_paginator(operation)
        pages = paginator.paginate(**which)
        return [item for page in pages for item in page.get(key, [])]


def _describe_cluster(cluster_id: str, region: str) -> Fields:
    with aws_errors(f"describing cluster {cluster_id}"):
        return client("emr", region).describe_cluster(ClusterId=cluster_id)["Cluster"]


def _until_listed(name: str, region: str, started: str, poll: float, until: float) -> None:
    """Wait until EMR lists the cluster, so that the next holder of the lock finds it."""
    while started not in {found["Id"] for found in _list_all("list_clusters", "Clusters", region)}:
        _pause(poll, until, f"Cluster {name} ({started}) was started, but EMR does not list it.")


def _until_ready(cluster_id: str, region: str, say: Say, poll: float, until: float) -> str:
    while True:
        cluster = _describe_cluster(cluster_id, region)
        now = ClusterState.from_response(cluster)
        if refusal := rejection_reason(cluster["ReleaseLabel"]):
            raise ClusterError(f"Cluster {now.name} ({cluster_id}): {refusal}")
        if now.state in READY:
            return cluster_id
        called = f"cluster {now.name} ({cluster_id})"
        if now.state not in LIVING:
            raise ClusterError(
                f"C{called[1:]} did not start. It is {now.state}: "
                f"{now.reason or 'EMR gives no reason'}. "
                "See its logs in S3 (LogUri), fix the problem and start it again."
            )
        say(f"{called} is {now.state.lower()} since {now.since:%H:%M} UTC; {USUALLY} in total")
        _pause(poll, until, f"C{called[1:]} is still {now.state}. Look at it in EMR's console.")


def _pause(seconds: float, until: float, problem: str) -> None:
    if time.monotonic() + seconds > until:
        raise ClusterError(f"{problem} Timed out.")
    time.sleep(seconds)


def _throttled(say: Say) -> Say:
    last = -PROGRESS_SECONDS

    def say_or_skip(text: str) -> None:
        nonlocal last
        if time.monotonic() - last < PROGRESS_SECONDS:
            return
        last = time.monotonic()
        say(text)

    return say_or_skip
