"""Each role can do its work with the policies that Terraform renders, and needs all of them.

The server enforces identity, bucket and endpoint policies with their conditions: see policies.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests import java
from tests.infra import planned
from tests.infra.module import PROJECT
from tests.infra.policies import Request, decide

ROLES = ("node", "dagster", "erasure", "ci")
REGION = "eu-west-1"
NAME = "fruits-features"
BUCKET = f"{NAME}-123456789012-{REGION}-data"

UNUSED = yaml.safe_load((Path(__file__).with_name("unused_actions.yaml")).read_text())
"""By role and action: why an action is allowed although no run here needs it."""


def rules() -> dict[str, Any]:
    """The policies that Terraform renders."""
    table = yaml.safe_load((planned.TABLES / "roles.yaml").read_text())

    def statements(address: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = table[address]["policy"]["Statement"]
        return found

    names = {"node": "node", "dagster": "dagster[0]", "erasure": "erasure[0]", "ci": "ci[0]"}
    found: dict[str, Any] = {
        role: {"statements": statements(f"aws_iam_role_policy.{name}")}
        for role, name in names.items()
    }
    found["node"]["endpoint"] = statements("aws_vpc_endpoint.s3")
    found["buckets"] = {
        BUCKET.removesuffix("data") + use: statements(f'aws_s3_bucket_policy.this["{use}"]')
        for use in ("data", "logs", "trail", "access")
    }
    return found


@dataclass
class Account:
    """The emulated account."""

    url: str
    asked: Path
    home: Path

    def client(self, service: str) -> Any:
        """A client of the account's owner, whose requests are not checked."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="owner",
            aws_secret_access_key="owner",  # noqa: S106 - moto takes any
        )

    def run(self, role: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the project with the role's credentials."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FRUITS_", "AWS_"))}
        settings = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": f"KEY{role}",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "DAGSTER_HOME": str(self.home),
            "SPARK_SUBMIT_OPTS": java.OPTIONS,
            "FRUITS_INPUT": f"s3://{BUCKET}/input",
            "FRUITS_STORAGE": f"s3://{BUCKET}/data",
            "FRUITS_REGION": REGION,
            "FRUITS_CLUSTER": NAME,
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            env=kept | settings | more,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

    def log(self) -> list[dict[str, Any]]:
        """The logged requests."""
        return [json.loads(line) for line in self.asked.read_text().splitlines()]

    def refused(self, role: str) -> list[str]:
        """The refused requests of the role."""
        return sorted(
            {
                f"{one['action']} on {one['resource']}: {one['refused_by']}"
                for one in self.log()
                if one["role"] == role and not one["allowed"]
            }
        )


@pytest.fixture(scope="module")
def account(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    (folder / "rules.json").write_text(json.dumps(rules()))
    (folder / "asked").touch()
    command = [sys.executable, "-m", "tests.infra.enforcing_server"]
    server = subprocess.Popen(
        [*command, str(folder / "rules.json"), str(folder / "asked")],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=(folder / "server").open("w"),
        text=True,
    )
    assert server.stdout is not None
    home = folder / "home"
    home.mkdir()
    made = Account(f"http://127.0.0.1:{server.stdout.readline().strip()}", folder / "asked", home)
    _make(made, sample)
    yield made
    server.terminate()
    server.wait(timeout=60)


def _make(account: Account, sample: Path) -> None:
    """Create the resources of `make up`, a few pictures, and some of a person."""
    s3, where = account.client("s3"), {"LocationConstraint": REGION}
    for use in ("data", "logs"):
        name = BUCKET.removesuffix("data") + use
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(closed, True)
    )
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for folder in sorted(path for path in sample.glob("*/*") if path.is_dir()):
        for file in sorted(folder.glob("*.jpg"))[:4]:
            s3.upload_file(str(file), BUCKET, f"input/{file.relative_to(sample)}")
    for number, file in enumerate(sorted(sample.glob("Test/*/*.jpg"))[-3:]):
        s3.upload_file(str(file), BUCKET, f"input/photos/ada/{number}.jpg")
    table = yaml.safe_load((planned.TABLES / "roles.yaml").read_text())
    job_flow = table["aws_s3_object.job_flow"]["content"]
    s3.put_object(Bucket=BUCKET, Key=f"cluster/{NAME}.json", Body=json.dumps(job_flow).encode())
    account.client("sqs").create_queue(QueueName="a-queue")


EIGHT = {"ops": {"pca_model": {"config": {"n_components": 8}}}}
MATERIALIZE = ("dagster", "asset", "materialize", "--config-json", json.dumps(EIGHT), "--select")


def test_nodes_run_the_whole_graph(account: Account) -> None:
    done = account.run("node", *MATERIALIZE, "*")
    assert account.refused("node") == []
    assert done.returncode == 0, done.stderr[-3000:]


def test_nodes_can_run_pca_again(account: Account) -> None:
    done = account.run("node", *MATERIALIZE, "pca_model+")
    assert account.refused("node") == []
    assert done.returncode == 0, done.stderr[-3000:]


def test_no_folder_keys_are_written_above_the_assets(account: Account) -> None:
    pages = account.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    folders = [key for key in keys if key.endswith(("/", "$folder$"))]
    assert [key for key in folders if key.count("/") <= 1] == []


def test_ci_runs_the_checks(account: Account) -> None:
    done = account.run("ci", "fruits", "check")
    assert account.refused("ci") == []
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


CLUSTER = """
import os
from fruits_assets.emr import cluster, code_package
from fruits_assets.notifications import InputQueue
from spark_src.io.aws import client, use_region
from spark_src.io.locations import Location

use_region(os.environ["FRUITS_REGION"])
storage = Location.parse(os.environ["FRUITS_STORAGE"])
region, name = os.environ["FRUITS_REGION"], os.environ["FRUITS_CLUSTER"]
code_package.push(storage / "staging" / "code", region)
found = cluster.ensure_ready(name, region, print, poll_seconds=0.1, storage=storage)
cluster.status(name, region)
emr = client("emr", region)
jar = {"Jar": "command-runner.jar", "Args": ["true"]}
step = {"Name": "x", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
steps = emr.add_job_flow_steps(JobFlowId=found, Steps=[step])["StepIds"]
emr.describe_step(ClusterId=found, StepId=steps[0])
cluster.stop(name, region)
queue = InputQueue(os.environ["QUEUE"], region)
queue.acknowledge(queue.drain(1))
"""


def test_dagsters_host_starts_the_cluster_and_runs_steps(account: Account) -> None:
    queue = account.client("sqs")
    url = queue.get_queue_url(QueueName="a-queue")["QueueUrl"]
    queue.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": []}))
    done = account.run("dagster", "python", "-c", CLUSTER, QUEUE=url)
    assert account.refused("dagster") == []
    assert done.returncode == 0, done.stderr[-3000:]


def test_dagsters_host_runs_the_assets_in_process(account: Account) -> None:
    done = account.run("dagster", *MATERIALIZE, "*")
    assert account.refused("dagster") == []
    assert done.returncode == 0, done.stderr[-3000:]


def test_erasure_erases_with_every_version(account: Account) -> None:
    labels = b"path,label\nphotos/ada/0.jpg,Apple\n"
    account.client("s3").put_object(Bucket=BUCKET, Key="input/labels.csv", Body=labels)
    done = account.run("erasure", "fruits", "erase", "--subject", "ada", "--yes")
    assert account.refused("erasure") == []
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    found = account.client("s3").list_object_versions(Bucket=BUCKET, Prefix="input/photos/ada")
    assert "Versions" not in found and "DeleteMarkers" not in found
    found = account.client("s3").list_object_versions(Bucket=BUCKET, Prefix="input/labels.csv")
    assert [(item["Size"], item["IsLatest"]) for item in found["Versions"]] == [(11, True)]


@pytest.mark.parametrize(
    "action", ["AddJobFlowSteps", "AddTags", "PutManagedScalingPolicy", "TerminateJobFlows"]
)
def test_dagsters_host_cannot_take_over_a_cluster_of_another_project(action: str) -> None:
    context = {"aws:ResourceTag/project": "other", "aws:RequestTag/project": NAME}
    cluster = f"arn:aws:elasticmapreduce:{REGION}:123456789012:cluster/j-OTHER"
    request = Request(f"elasticmapreduce:{action}", cluster, context)
    assert not decide(request, rules()["dagster"]["statements"], {}).allowed


FORBIDDEN = [
    ("node", "put_object", {"Key": "input/x.jpg", "Body": b""}),
    ("node", "put_object", {"Key": "cluster/bootstrap.sh", "Body": b""}),
    ("node", "put_object", {"Key": "data/staging/code/x.zip", "Body": b""}),
    ("node", "put_object", {"Key": "data/environments/env-x.tar.gz", "Body": b""}),
    ("node", "put_object", {"Key": "data/erasures/receipt-x.json", "Body": b""}),
    ("node", "get_object", {"Key": "jupyter/jovyan/diary.ipynb"}),
    ("node", "list_objects_v2", {"Prefix": "jupyter/"}),
    ("node", "list_objects_v2", {"Prefix": ""}),
    ("node", "list_object_versions", {"Prefix": "input/"}),
    ("dagster", "put_object", {"Key": "input/x.jpg", "Body": b""}),
    ("dagster", "put_object", {"Key": f"cluster/{NAME}.json", "Body": b""}),
    ("dagster", "put_object", {"Key": "data/erasures/receipt-x.json", "Body": b""}),
    ("dagster", "get_object", {"Key": "cluster/certificates.zip"}),
    ("dagster", "delete_object", {"Key": "input/x.jpg"}),
    ("erasure", "put_object", {"Key": "input/photos/ada/0.jpg", "Body": b""}),
    ("erasure", "put_object", {"Key": "data/erasures/receipt-x.json", "Body": b""}),
    ("erasure", "delete_object", {"Key": "data/erasures/receipt-x.json"}),
    ("erasure", "delete_object", {"Key": "data/environments/env-x.tar.gz"}),
    ("erasure", "delete_object", {"Key": f"cluster/{NAME}.json"}),
    ("ci", "get_object", {"Key": "input/Test/x.jpg"}),
    ("ci", "put_object", {"Key": "data/Results/x", "Body": b""}),
]


@pytest.mark.parametrize(
    ("role", "call", "arguments"), FORBIDDEN, ids=[f"{r} {c} {a}" for r, c, a in FORBIDDEN]
)
def test_a_role_may_not(account: Account, role: str, call: str, arguments: dict[str, Any]) -> None:
    kept = account.asked.read_text()
    s3 = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=account.url,
        aws_access_key_id=f"KEY{role}",
        aws_secret_access_key="secret",  # noqa: S106 - moto takes any
    )
    try:
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            getattr(s3, call)(Bucket=BUCKET, **arguments)
    finally:
        account.asked.write_text(kept)  # forbidden requests do not count as use


@pytest.mark.parametrize("role", ROLES)
def test_every_allowed_action_is_used_or_has_a_reason(account: Account, role: str) -> None:
    log = [one for one in account.log() if one["role"] == role]
    if not log:
        pytest.skip("no run of this role was made before")
    used = {one["action"] for one in log if one["allowed"]}
    wanted = {
        action
        for statement in rules()[role]["statements"]
        if statement["Effect"] == "Allow"
        for action in _list(statement["Action"])
    }
    unused = {action for action in wanted if not _is_used(action, used)}
    _keep_table(role, len(log), len(wanted), sorted(unused))
    assert unused == set(UNUSED.get(role, {}))
    assert all(len(reason) > 20 for reason in UNUSED.get(role, {}).values())


def _is_used(action: str, used: set[str]) -> bool:
    return any(one == action or one.startswith(action.removesuffix("*")) for one in used) and (
        action in used or action.endswith("*")
    )


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _keep_table(role: str, requests: int, allowed: int, unused: list[str]) -> None:
    """Append a summary line of the role to .cache/roles.txt."""
    (PROJECT / ".cache").mkdir(exist_ok=True)
    with (PROJECT / ".cache" / "roles.txt").open("a") as file:
        file.write(f"{role}: {requests} requests, {allowed} actions allowed, unused {unused}\n")
