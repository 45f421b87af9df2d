"""Trust boundaries: nothing is unpickled, and nothing runs with a different digest."""

from __future__ import annotations

import ast
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from fruits_assets.emr import code_package, submission
from fruits_assets.emr.event_relay import EventRelay
from fruits_assets.emr.launcher import launched_spark_config
from fruits_assets.emr.step_definition import StepDefinition, dump_events, parse_events
from fruits_assets.emr.step_logs import read_text
from fruits_assets.emr.submission import StepFiles
from spark_src.errors import ClusterError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.spark.session import cluster_config
from tests.emr.conftest import Account, AddStep
from tests.emr.emulated_cluster import REGION

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = [
    file
    for package in ("fruits_assets", "spark_src", "infra", "benchmarks")
    for file in sorted((REPOSITORY / package).rglob("*.py"))
]


def put(location: Location, content: bytes) -> None:
    bucket, key = location.bucket_and_key
    client("s3", REGION).put_object(Bucket=bucket, Key=key, Body=content)


def test_no_source_unpickles() -> None:
    unpicklers = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                {alias.name for alias in node.names}
                if isinstance(node, ast.Import)
                else {node.module}
                if isinstance(node, ast.ImportFrom)
                else set()
            )
            assert not names & unpicklers, file
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.fixture
def relay(account: Account, tmp_path: Path) -> Iterator[EventRelay]:
    """The events of step `pca` of run `run-1`."""
    files = StepFiles(account.tables.root / "staging" / tmp_path.name)
    with dg.DagsterInstance.ephemeral() as instance:
        context: Any = SimpleNamespace(
            instance=instance, step=SimpleNamespace(key="pca"), run_id="run-1"
        )
        relay = EventRelay(context, files, "none", REGION)
        relay.instance = instance  # type: ignore[attr-defined]
        relay.files = files  # type: ignore[attr-defined]
        yield relay


@pytest.mark.parametrize(
    "planted",
    [
        lambda trace: pickle.dumps(Planted(trace)),
        lambda trace: pickle.dumps(json.dumps([str(trace)])),
        lambda _: b'[{"__class__": "ReconstructableJob"}]',
        lambda _: b'[{"__class__": "os.system", "command": "true"}]',
        lambda _: b'{"not": "a list"}',
        lambda _: b'["not an event"]',
        lambda _: b"\xff\xfe",
        lambda _: b"",
    ],
)
def test_invalid_events_are_refused_and_run_nothing(
    relay: Any, planted: Any, tmp_path: Path
) -> None:
    put(relay.files.events, planted(tmp_path / "trace"))
    with pytest.raises(ClusterError, match="events cannot be read"):
        list(relay.new_events())
    assert not (tmp_path / "trace").exists()


def entry(run_id: str = "run-1", step_key: str | None = "pca", event: Any = None) -> Any:
    return dg.EventLogEntry(None, 10, "text", run_id, 1.0, step_key, "job", event)


def dagster_event(kind: dg.DagsterEventType, step_key: str | None) -> dg.DagsterEvent:
    return dg.DagsterEvent(kind.value, "job", step_key=step_key)


@pytest.mark.parametrize(
    "forged",
    [
        entry(run_id="another run"),
        entry(step_key="ingest"),
        entry(event=dagster_event(dg.DagsterEventType.STEP_START, "ingest")),
        entry(step_key=None, event=dagster_event(dg.DagsterEventType.RUN_SUCCESS, None)),
        entry(step_key=None, event=dagster_event(dg.DagsterEventType.RUN_CANCELED, None)),
    ],
)
def test_an_event_of_another_step_or_of_the_run_is_refused(
    relay: Any, forged: dg.EventLogEntry
) -> None:
    put(relay.files.events, dump_events([entry(), forged]))
    with pytest.raises(ClusterError, match="another program wrote it"):
        list(relay.new_events())
    assert relay.instance.all_logs("another run") == []


def test_each_event_is_stored_once_and_in_order(relay: Any) -> None:
    first, second = entry(), entry(event=dagster_event(dg.DagsterEventType.STEP_START, "pca"))
    put(relay.files.events, dump_events([first]))
    assert list(relay.new_events()) == []
    put(relay.files.events, dump_events([first, second]))
    (event,) = relay.new_events()
    assert event.event_type == dg.DagsterEventType.STEP_START
    assert list(relay.new_events()) == []


def test_events_survive_serialisation() -> None:
    events = [entry(), entry(event=dagster_event(dg.DagsterEventType.STEP_START, "pca"))]
    assert parse_events(dump_events(events)) == events


@pytest.mark.parametrize("changed", ["code", "definition"])
def test_a_step_does_not_run_files_changed_after_the_upload(
    account: Account, add_step: AddStep, changed: str
) -> None:
    staging = account.tables.root / "staging"
    files = StepFiles.for_attempt(staging, f"changed-{changed}", "pca", 0)
    package = code_package.CodePackage.from_content(code_package.build().content + b"\0")
    code = code_package.push(staging / "code", REGION, package)
    sha256 = submission.put_definition(files, StepDefinition({}, "{}"), REGION)
    config = launched_spark_config(cluster_config(), REGION)
    step = submission.step_config("pca", files, sha256, code, package, REGION, config)
    put(code if changed == "code" else files.definition, b"planted")
    cluster_id, step_id = add_step(step["HadoopJarStep"]["Args"])
    account.cluster.wait_for_end(step_id)
    state = submission.describe_step(cluster_id, step_id, REGION)
    assert state.state == "FAILED"
    while not (said := read_text(Location.parse(state.log_file), REGION)):
        pass
    assert "was changed after the host uploaded it" in said
    assert "It was not run" in said and "spark" not in said.lower().replace("s3://", "")
