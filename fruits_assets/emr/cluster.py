"""The EMR cluster, found by its name: started again, waited for, stopped. No steps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fruits_assets.emr import job_flow
from fruits_assets.emr.lock import acquire_lock
from spark_src.contract import rejection_reason
from spark_src.errors import ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

Say = Callable[[str], None]
Fields = Mapping[str, Any]

READY = ("RUNNING", "WAITING")
LIVING = ("STARTING", "BOOTSTRAPPING", *READY)
USUALLY = "usually 6 to 10 minutes"

PROGRESS_SECONDS = 10.0
"""The least time between two lines that say how a start goes."""


@dataclass(frozen=True)
class ClusterState:
    """A cluster as EMR lists it. `since`: ready, or begun, or ended; `reason` may be empty."""

    id: str
    name: str
    state: str
    since: datetime
    reason: str

    @classmethod
    def from_response(cls, cluster: Fields) -> ClusterState:
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


def find_last(name: str, region: str) -> ClusterState | None:
    """The newest cluster of that name in any state; EMR lists it for two months."""
    return _newest(name, region)


def describe(cluster_id: str, region: str) -> ClusterState:
    """What a cluster is like at this moment; AwsError where EMR does not answer."""
    return ClusterState.from_response(_described(cluster_id, region))


def ensure_ready(  # noqa: PLR0913 - all but the first three by name
    name: str,
    region: str,
    say: Say,
    *,
    poll_seconds: float = 15,
    timeout_seconds: float = 1800,
    storage: Location,
) -> str:
    """The id of a cluster that takes steps; one that was terminated is started again.

    Args:
        name: the cluster's name.
        region: AWS's region.
        say: takes a line about how it goes, at most every 10 seconds while waiting.
        poll_seconds: time between two polls.
        timeout_seconds: time after which waiting ends with an error.
        storage: where the assets lie. In S3 it holds the arguments that start the cluster, and the
            lock that lets one of several runs do so.

    Raises:
        ClusterError: nobody said how to start it, it fails to start, or it takes too long.
        AwsError: AWS refused or did not answer.
    """
    until = time.monotonic() + timeout_seconds
    say_seldom, lock = _seldom(say), job_flow.lock(storage, name)
    while (found := find(name, region)) is None:
        started = None
        with acquire_lock(lock, region) as holder:
            # Between the call and the lock another run may have started one and let go.
            if holder is None and find(name, region) is None:
                started = _start(name, region, say, storage)
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
    with aws_errors(f"terminating cluster {found.id}"):
        client("emr", region).terminate_job_flows(JobFlowIds=[found.id])
    return found


def status(name: str, region: str) -> ClusterStatus | None:
    """The living cluster, or else the last one, as it is now; None where there never was one."""
    found = find(name, region) or find_last(name, region)
    if found is None:
        return None
    cluster, living = _described(found.id, region), found.state in LIVING
    running = {"InstanceStates": ["RUNNING"], "ClusterId": found.id}
    nodes = _every("list_instances", "Instances", region, **running) if living else []
    running = {"StepStates": ["RUNNING"], "ClusterId": found.id}
    steps = _every("list_steps", "Steps", region, **running) if living else []
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
    every = _every("list_clusters", "Clusters", region, **which)
    named = [cluster for cluster in every if cluster["Name"] == name]
    named.sort(key=lambda cluster: cluster["Status"]["Timeline"]["CreationDateTime"])
    return ClusterState.from_response(named[-1]) if named else None


def _every(operation: str, key: str, region: str, **which: Any) -> list[Fields]:
    """All pages of a list; AwsError where EMR does not answer."""
    with aws_errors(f"asking EMR in {region} ({operation})"):
        pages = client("emr", region).get_paginator(operation).paginate(**which)
        return [item for page in pages for item in page.get(key, [])]


def _described(cluster_id: str, region: str) -> dict[str, Any]:
    with aws_errors(f"describing cluster {cluster_id}"):
        cluster: dict[str, Any] = client("emr", region).describe_cluster(ClusterId=cluster_id)
        return dict(cluster["Cluster"])


def _until_listed(name: str, region: str, started: str, poll: float, until: float) -> None:
    """A process that waits for the lock must see the cluster in the list before it is released."""
    while started not in {found["Id"] for found in _every("list_clusters", "Clusters", region)}:
        _pause(poll, until, f"Cluster {name} ({started}) was started, but EMR does not list it.")


def _until_ready(cluster_id: str, region: str, say: Say, poll: float, until: float) -> str:
    while True:
        cluster = _described(cluster_id, region)
        now = ClusterState.from_response(cluster)
        if refusal := rejection_reason(cluster["ReleaseLabel"]):
            raise ClusterError(f"Cluster {now.name} ({cluster_id}): {refusal}")
        if now.state in READY:
            return cluster_id
        called = f"cluster {now.name} ({cluster_id})"
        if now.state not in LIVING:
            raise ClusterError(
                f"C{called[1:]} did not start, it is {now.state}: {now.reason or 'EMR says no why'}"
                " Its logs in S3 (LogUri) say more; fix what they name and start it again."
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
