"""EMR's documented rules where moto is more lenient. No tests here.

Sources: the API reference's RunJobFlow, AddJobFlowSteps, StepConfig, AutoTerminationPolicy and
ComputeLimits; "Considerations for running multiple steps in parallel"; "Configure logging".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.core.exceptions import ServiceException
from moto.emr.exceptions import ValidationException
from moto.emr.models import Step, emr_backends
from moto.emr.responses import ElasticMapReduceResponse

ENDED = ("TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS")
OPERATIONS = (
    "add_job_flow_steps",
    "cancel_steps",
    "describe_cluster",
    "describe_step",
    "list_clusters",
    "list_instances",
    "list_steps",
    "run_job_flow",
)
MAX_ARGUMENT_CHARACTERS = 10_280
_FAILURE_ACTIONS = ("TERMINATE_JOB_FLOW", "TERMINATE_CLUSTER", "CANCEL_AND_WAIT", "CONTINUE")
_NOT_AT_CONCURRENCY = ("TERMINATE_JOB_FLOW", "TERMINATE_CLUSTER", "CANCEL_AND_WAIT")


class ThrottlingException(ServiceException):
    """AWS throttles calls."""

    code = "ThrottlingException"


@dataclass
class EmrRules:
    """How EMR reacts to calls; set by tests."""

    throttled: Counter[str] = field(default_factory=Counter)
    """The number of next calls of an operation that are refused with ThrottlingException."""
    ends_before: set[str] = field(default_factory=set)
    """Operations before whose next call the cluster terminates."""
    calls: Counter[str] = field(default_factory=Counter)
    cancellers: list[Callable[[str], None]] = field(default_factory=list)
    """A function of each emulated cluster that cancels a step."""

    def before(self, operation: str, response: ElasticMapReduceResponse) -> None:
        """Apply the rules before moto handles the call."""
        self.calls[operation] += 1
        if self.throttled[operation]:
            self.throttled[operation] -= 1
            raise ThrottlingException("Rate exceeded")
        if operation in self.ends_before:
            self.ends_before.remove(operation)
            cluster_of(response).terminate()


def cluster_of(response: ElasticMapReduceResponse) -> Any:
    """The cluster in a call's arguments."""
    arguments = json.loads(response.body)
    cluster_id = arguments.get("ClusterId") or arguments.get("JobFlowId")
    found = [
        backend.clusters[cluster_id]
        for account in emr_backends.values()
        for backend in account.values()
        if cluster_id in backend.clusters
    ]
    if not found:
        raise ValidationException(f"Cluster id '{cluster_id}' is not valid.")
    return found[0]


@contextmanager
def documented_emr() -> Iterator[EmrRules]:
    """Apply these rules to moto's EMR in every server of this process."""
    rules = EmrRules()
    responses = ElasticMapReduceResponse
    originals: dict[str, Any] = {name: getattr(responses, name, None) for name in OPERATIONS}
    checks = {
        "add_job_flow_steps": require_valid_steps,
        "run_job_flow": lambda response: require_valid_job_flow(json.loads(response.body)),
    }

    def ruled(name: str) -> Any:
        def call(response: ElasticMapReduceResponse) -> Any:
            rules.before(name, response)
            if name in checks:
                checks[name](response)
            if name == "cancel_steps":
                return cancel_steps(response, rules)
            return originals[name](response)

        return call

    plain = Step.status.fget

    def status(step: Step) -> dict[str, Any]:
        found = dict(plain(step))
        if step.state == "FAILED":
            found["FailureDetails"] = {
                "Reason": "Unknown Error.",
                "LogFile": getattr(step, "log_file", "") or None,
            }
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "status", property(status))
        for name in OPERATIONS:
            patch.setattr(responses, name, ruled(name), raising=False)
        yield rules


def cancel_steps(response: ElasticMapReduceResponse, rules: EmrRules) -> str:
    """CancelSteps, which moto does not implement."""
    if cluster_of(response).state in ENDED:
        raise ValidationException("Cluster has ended: its steps cannot be cancelled.")
    for step_id in json.loads(response.body)["StepIds"]:
        for cancel in rules.cancellers:
            cancel(step_id)
    return '{"CancelStepsInfoList": []}'


def require_valid_steps(response: ElasticMapReduceResponse) -> None:
    """AddJobFlowSteps: the cluster has to accept steps, and the steps have to be valid."""
    cluster = cluster_of(response)
    if cluster.state in ENDED:
        raise ValidationException(
            "A job flow that is shutting down, terminated, or finished may not be modified."
        )
    require_steps(json.loads(response.body)["Steps"], cluster.step_concurrency_level)


def require_steps(steps: list[dict[str, Any]], concurrency: int) -> None:
    """Check the documented rules for steps."""
    if len(steps) > 256:
        raise ValidationException("A maximum of 256 steps are allowed in each job flow.")
    for step in steps:
        action = step.get("ActionOnFailure", "TERMINATE_CLUSTER")
        if action not in _FAILURE_ACTIONS:
            raise ValidationException(f"Invalid ActionOnFailure: {action}")
        if concurrency > 1 and action in _NOT_AT_CONCURRENCY:
            raise ValidationException(
                f"The ActionOnFailure {action} is not supported at a step concurrency level "
                f"greater than 1."
            )
        for argument in step["HadoopJarStep"].get("Args", []):
            if len(argument) > MAX_ARGUMENT_CHARACTERS:
                raise ValidationException(
                    "Member must have length less than or equal to 10280: hadoopJarStep.args"
                )


def require_valid_job_flow(asked: dict[str, Any]) -> None:
    """RunJobFlow: EMR's rules that boto3 does not already check (unknown fields, types)."""
    instances = asked["Instances"]
    required = ("ReleaseLabel", "JobFlowRole", "ServiceRole")
    if missing := [name for name in required if not asked.get(name)]:
        raise ValidationException(f"Required fields are missing: {', '.join(missing)}")
    if not asked["ReleaseLabel"].startswith("emr-"):
        raise ValidationException(f"The supplied release label is invalid: {asked['ReleaseLabel']}")
    groups, fleets = instances.get("InstanceGroups"), instances.get("InstanceFleets")
    if bool(groups) == bool(fleets):
        raise ValidationException("Specify either instance groups or instance fleets, not both.")
    roles = Counter(group["InstanceRole"] for group in groups or [])
    if groups and (roles["MASTER"] != 1 or roles["CORE"] > 1):
        raise ValidationException("There must be one MASTER instance group, and one CORE at most.")
    concurrency = asked.get("StepConcurrencyLevel", 1)
    _within("StepConcurrencyLevel", concurrency, 1, 256)
    idle = asked.get("AutoTerminationPolicy", {}).get("IdleTimeout")
    if idle is not None:
        _within("IdleTimeout", idle, 60, 604_800)
    limits = asked.get("ManagedScalingPolicy", {}).get("ComputeLimits")
    if limits and limits["MinimumCapacityUnits"] > limits["MaximumCapacityUnits"]:
        raise ValidationException("MinimumCapacityUnits is greater than MaximumCapacityUnits.")
    for name, value in asked.items():
        if value is None:
            raise ValidationException(f"{name} is null.")
    require_steps(asked.get("Steps", []), concurrency)


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValidationException(f"{name} must be between {least} and {most}; it is {value}.")
