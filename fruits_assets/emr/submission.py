"""Uploads a step's files to S3, and adds, describes and cancels the step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fruits_assets.emr import cluster, step_main, step_start
from fruits_assets.emr.code_package import CodePackage
from fruits_assets.emr.step import EVENTS_FILE
from fruits_assets.emr.step_definition import StepDefinition
from spark_src.contract import ENVIRONMENT_PATH
from spark_src.errors import AwsError, ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_emr.type_defs import StepConfigTypeDef

DEFINITION_FILE = "definition.json"
STDERR_FILE = "stderr.txt"

MAIN = f"fruits_assets/emr/{Path(step_main.__file__).name}"
"""The main file's path in the zip of the code."""

SPARK_SUBMIT = "/usr/lib/spark/bin/spark-submit"
PYTHON = f"{ENVIRONMENT_PATH}/bin/python"

MAX_ARGUMENT_CHARACTERS = 10_280
"""EMR's limit for one argument."""

_REFUSED = ("ValidationException", "InvalidRequestException")
"""EMR's error codes for operations on a terminated cluster."""


@dataclass(frozen=True)
class StepFiles:
    """The locations of a step's files: one folder per attempt of each step of a run."""

    folder: Location

    @classmethod
    def for_attempt(cls, staging: Location, run_id: str, step_key: str, attempt: int) -> StepFiles:
        """The folder of an attempt; a retry must not read the events of an earlier attempt."""
        # Keys of dynamic steps have brackets.
        step = step_key.replace("[", "__").replace("]", "__")
        return cls(staging / run_id / step / f"attempt-{attempt}")

    @property
    def definition(self) -> Location:
        """The step definition from the host."""
        return self.folder / DEFINITION_FILE

    @property
    def events(self) -> Location:
        """The events from the cluster."""
        return self.folder / EVENTS_FILE

    @property
    def stderr(self) -> Location:
        """The end of spark-submit's output; exists if it failed or warned."""
        return self.folder / STDERR_FILE


@dataclass(frozen=True)
class StepState:
    """A step as described by EMR. `reason` and `log_file` may be empty."""

    state: str
    reason: str = ""
    log_file: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether it ended without success."""
        return self.state in {"FAILED", "CANCELLED", "INTERRUPTED"}


def put_definition(files: StepFiles, definition: StepDefinition, region: str) -> str:
    """Write the step definition; return its digest."""
    content = definition.dump()
    bucket, key = files.definition.bucket_and_key
    with aws_errors(f"writing {files.definition.uri}"):
        client("s3", region).put_object(Bucket=bucket, Key=key, Body=content)
    return hashlib.sha256(content).hexdigest()


def step_config(  # noqa: PLR0913, PLR0917 - the parts of a step
    name: str,
    files: StepFiles,
    definition_sha256: str,
    code: Location,
    package: CodePackage,
    region: str,
    spark_config: Mapping[str, str],
) -> StepConfigTypeDef:
    """The step for EMR: a Python program, passed as an argument, that runs spark-submit.

    Args:
        name: the step's name in EMR's console.
        files: the step's files.
        definition_sha256: the digest of the step definition in these files.
        code: the location of the zip of the code, in the same bucket.
        package: the zip of the code.
        region: the bucket's region.
        spark_config: the Spark config.

    Raises:
        ClusterError: an argument is longer than EMR allows.
    """
    bucket, folder = files.folder.bucket_and_key
    manifest = {
        "region": region,
        "bucket": bucket,
        "files": {
            "code.zip": [code.bucket_and_key[1], package.sha256],
            DEFINITION_FILE: [files.definition.bucket_and_key[1], definition_sha256],
        },
        "main": MAIN,
        "stderr": files.stderr.bucket_and_key[1],
    }
    settings = [("--conf", f"{name}={value}") for name, value in spark_config.items()]
    arguments = [
        *(PYTHON, "-I", "-c", Path(step_start.__file__).read_text(encoding="utf-8")),
        json.dumps(manifest),
        *(SPARK_SUBMIT, "--master", "yarn", "--deploy-mode", "client"),
        *(part for pair in settings for part in pair),
        *("--py-files", "{files}/code.zip"),
        *(f"{{files}}/{MAIN}", region, bucket, folder, f"{{files}}/{DEFINITION_FILE}"),
    ]
    if max(map(len, arguments)) > MAX_ARGUMENT_CHARACTERS:
        raise ClusterError(
            f"Step {name} has an argument of more than {MAX_ARGUMENT_CHARACTERS:,} characters, "
            "which EMR refuses: shorten the storage's URI or the Spark config."
        )
    return {
        "Name": name,
        # EMR refuses CANCEL_AND_WAIT and TERMINATE_CLUSTER if steps may run concurrently.
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": arguments},
    }


def add_step(cluster_id: str, definition: StepConfigTypeDef, region: str) -> str | None:
    """Add the step to the cluster.

    Returns:
        The step's id; None if the cluster has terminated in the meantime.

    Raises:
        AwsError: EMR refused or did not respond.
    """
    try:
        with aws_errors(f"adding a step to cluster {cluster_id}"):
            answer = client("emr", region).add_job_flow_steps(
                JobFlowId=cluster_id, Steps=[definition]
            )
    except AwsError as error:
        if error.code in _REFUSED and has_ended(cluster_id, region):
            return None
        raise
    return str(answer["StepIds"][0])


def describe_step(cluster_id: str, step_id: str, region: str) -> StepState:
    """The current state of a step; AwsError if EMR does not respond."""
    with aws_errors(f"describing step {step_id} of cluster {cluster_id}"):
        step = client("emr", region).describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]
    status = step["Status"]
    failure = status.get("FailureDetails") or {}
    change = status.get("StateChangeReason") or {}
    reason = failure.get("Message") or failure.get("Reason") or change.get("Message") or ""
    return StepState(status["State"], str(reason), str(failure.get("LogFile") or ""))


def cancel_step(cluster_id: str, step_id: str, region: str) -> str:
    """Cancel the step; return a message about the result."""
    try:
        with aws_errors(f"cancelling EMR step {step_id}"):
            client("emr", region).cancel_steps(
                ClusterId=cluster_id,
                StepIds=[step_id],
                StepCancellationOption="TERMINATE_PROCESS",
            )
    except AwsError as error:
        if error.code in _REFUSED and has_ended(cluster_id, region):
            return f"EMR step {step_id} ended with cluster {cluster_id}"
        return f"{error} The step may still be running on {cluster_id}."
    return f"EMR step {step_id} is cancelled"


def has_ended(cluster_id: str, region: str) -> bool:
    """Whether the cluster no longer accepts steps."""
    return cluster.describe(cluster_id, region).state not in cluster.LIVING
