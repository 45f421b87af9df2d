"""An account with a bucket and a waiting cluster that runs its steps, and Dagster's commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fruits_assets.emr import cluster
from spark_src.io.aws import client, reset_clients
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.conftest import new_bucket
from tests.emr.documented_emr import EmrRules, documented_emr
from tests.emr.emulated_cluster import REGION, EmulatedCluster, start_cluster

NAME = "fruits-tests"

AddStep = Callable[[list[str]], tuple[str, str]]
"""Adds a command as a step and returns the ids of cluster and step."""


@dataclass(frozen=True)
class Account:
    """The emulated account."""

    url: str
    bucket: str
    cluster: EmulatedCluster
    emr: EmrRules
    home: Path
    name: str = NAME
    storage: str = "data"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a host that uses this account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "DAGSTER_HOME": str(self.home),
            "FRUITS_DEPLOYMENT": "emr",
            "FRUITS_INPUT": f"s3://{self.bucket}/input",
            "FRUITS_STORAGE": f"s3://{self.bucket}/{self.storage}",
            "FRUITS_CLUSTER": self.name,
            "FRUITS_POLL_SECONDS": "1",
        }

    @property
    def tables(self) -> Tables:
        """The assets in the bucket."""
        return Tables(Location.parse(f"s3://{self.bucket}/{self.storage}"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the project in a separate process, as a user does."""
        return run_command(*command, **self.variables)


def run_command(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project in a separate process, with only these settings."""
    kept = {name: value for name, value in os.environ.items() if "FRUITS_" not in name}
    return subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        env=kept | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def emr() -> Iterator[EmrRules]:
    """moto's EMR with the documented rules."""
    with documented_emr() as rules:
        yield rules


@pytest.fixture(scope="session")
def session_aws(aws_url: str) -> Iterator[pytest.MonkeyPatch]:
    """Environment variables for session fixtures that use the emulated AWS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws_url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        reset_clients()
        yield patch
    reset_clients()


@pytest.fixture(scope="session")
def input_bucket(session_aws: pytest.MonkeyPatch, sample: Path) -> str:  # noqa: ARG001
    """A bucket with the sample."""
    bucket = new_bucket(REGION)
    for file in sample.rglob("*.jpg"):
        key = f"input/{file.relative_to(sample)}"
        client("s3", REGION).upload_file(str(file), bucket, key)
    return bucket


@pytest.fixture(scope="session")
def account(
    aws_url: str,
    input_bucket: str,
    emr: EmrRules,
    environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Account]:
    """The account of most tests: the sample in a bucket, a cluster with the packed environment."""
    folder = tmp_path_factory.mktemp("cluster")
    start_cluster(NAME, f"s3://{input_bucket}/logs/")
    nodes = EmulatedCluster(NAME, aws_url, environment, folder / "steps")
    with run_steps(nodes, emr):
        yield Account(aws_url, input_bucket, nodes, emr, folder)


@contextmanager
def run_steps(nodes: EmulatedCluster, emr: EmrRules) -> Iterator[None]:
    """Let the cluster run its steps, and cancel them on CancelSteps."""
    emr.cancellers.append(nodes.cancel)
    nodes.start()
    yield
    nodes.stop()
    emr.cancellers.remove(nodes.cancel)


@pytest.fixture
def add_step(account: Account) -> AddStep:
    """Run a command as a step; returns after the step has started."""

    def add(command: list[str]) -> tuple[str, str]:
        cluster_id = cluster.ensure_ready(account.name, REGION, print, storage=account.tables.root)
        jar = {"Jar": "command-runner.jar", "Args": command}
        step = {"Name": "test", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        answer = client("emr", REGION).add_job_flow_steps(JobFlowId=cluster_id, Steps=[step])
        step_id = answer["StepIds"][0]
        while step_id not in account.cluster.begun:
            time.sleep(0.05)
        return cluster_id, step_id

    return add


@pytest.fixture(autouse=True)
def _in_aws(aws: str) -> None:
    """All tests here use the emulated AWS."""
