"""Finding, starting, stopping and showing the cluster."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fruits_assets.cli.cluster import app
from fruits_assets.emr import cluster, job_flow
from spark_src.errors import AwsError, ClusterError
from spark_src.io import aws
from spark_src.io.locations import Location
from tests.fruits_assets.aws import LOCK, NAME, REGION, STORAGE, Emulated


@pytest.fixture
def said() -> list[str]:
    return []


def wait(said: list[str], timeout_seconds: float = 5) -> str:
    return cluster.ensure_ready(
        NAME,
        REGION,
        said.append,
        poll_seconds=0.05,
        timeout_seconds=timeout_seconds,
        storage=STORAGE,
    )


def test_the_newest_active_cluster_of_the_name_is_found(emr: Emulated) -> None:
    older, newer, ended = emr.start(), emr.start(), emr.start_and_end()
    other = emr.start(Name="somebody-elses")
    for minutes, each in enumerate((other, ended, newer, older)):
        emr.age(each, minutes)
    found = cluster.find(NAME, REGION)
    assert found is not None
    assert (found.id, found.name, found.state) == (newer, NAME, "WAITING")


@pytest.mark.parametrize("state", ["TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"])
def test_a_terminating_cluster_is_not_active_but_the_last(emr: Emulated, state: str) -> None:
    ended = emr.start()
    emr.set_state(ended, state, "Idle for too long")
    assert cluster.find(NAME, REGION) is None
    last = cluster.find_last(NAME, REGION)
    assert last is not None
    assert (last.id, last.state, last.reason) == (ended, state, "Idle for too long")


def test_a_cluster_is_found_beyond_the_first_page(emr: Emulated) -> None:
    ours = emr.start()
    for _ in range(60):
        emr.start(Name="somebody-elses")
    first = aws.client("emr", REGION).list_clusters()
    assert "Marker" in first
    found = cluster.find_last(NAME, REGION)
    assert found is not None
    assert found.id == ours


def test_an_active_cluster_is_used_unchanged(emr: Emulated, said: list[str]) -> None:
    living = emr.start()
    assert wait(said) == living
    assert (list(emr.clusters), said, emr.lock()) == ([living], [], None)


def test_a_starting_cluster_is_waited_for(emr: Emulated, said: list[str]) -> None:
    starting = emr.start()
    emr.set_state(starting, "BOOTSTRAPPING")
    later = threading.Timer(0.5, emr.set_state, (starting, "WAITING"))
    later.start()
    assert wait(said) == starting
    later.join()
    assert list(emr.clusters) == [starting]
    (line,) = said  # polled ten times, reported once
    assert f"cluster {NAME} ({starting}) is bootstrapping" in line


def test_a_cluster_that_fails_to_start_is_reported_with_the_reason(
    emr: Emulated, said: list[str]
) -> None:
    starting = emr.start()
    emr.set_state(starting, "STARTING")
    reason = "On the master instance, bootstrap action 1 returned a non-zero return code"
    failing = (starting, "TERMINATED_WITH_ERRORS", reason)
    later = threading.Timer(0.3, emr.set_state, failing)
    later.start()
    with pytest.raises(ClusterError, match=reason) as raised:
        wait(said)
    later.join()
    assert starting in str(raised.value)


def test_waiting_times_out(emr: Emulated, said: list[str]) -> None:
    emr.set_state(emr.start(), "STARTING")
    with pytest.raises(ClusterError, match="still STARTING"):
        wait(said, timeout_seconds=0.3)


def test_without_start_arguments_the_error_mentions_make_up(emr: Emulated, said: list[str]) -> None:
    emr.write_job_flow(None)
    with pytest.raises(ClusterError, match="`make up`"):
        wait(said)
    assert (list(emr.clusters), emr.lock()) == ([], None)


def test_the_first_cluster_is_started(emr: Emulated, said: list[str]) -> None:
    assert list(emr.clusters) == []
    assert [wait(said)] == list(emr.clusters)
    assert said == [f"starting cluster {NAME}, usually 6 to 10 minutes"]


def test_two_simultaneous_runs_start_one_cluster(emr: Emulated) -> None:
    ended = emr.start_and_end()
    emr.age(ended, 60)
    emr.slow_seconds = 0.5
    lines: list[list[str]] = [[], []]
    with ThreadPoolExecutor(2) as runs:
        ids = list(runs.map(wait, lines))
    (started,) = set(emr.clusters) - {ended}
    assert ids == [started, started]
    assert emr.lock() is None
    texts = sorted(" ".join(said) for said in lines)
    assert "is starting cluster" in texts[0]
    assert "starting it again" in texts[1]


def test_a_cluster_started_before_the_lock_was_acquired_is_used(
    emr: Emulated, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = emr.start_and_end()
    put_object, others = aws.client("s3", REGION).put_object, []

    def slow(**arguments: object) -> object:
        others.append(emr.start())
        return put_object(**arguments)

    monkeypatch.setattr(aws.client("s3", REGION), "put_object", slow)
    assert [wait(said)] == others
    assert set(emr.clusters) == {ended, *others}


def test_a_lock_that_another_run_holds_is_waited_for(emr: Emulated, said: list[str]) -> None:
    ended = emr.start_and_end()
    held = b'{"who": "a run on node-7", "when": "lately"}'
    emr.write_lock(held, minutes_old=14)
    with pytest.raises(ClusterError, match="a run on node-7 holds s3://"):
        wait(said, timeout_seconds=0.3)
    assert (list(emr.clusters), emr.lock()) == ([ended], held)
    assert said == [f"a run on node-7 is starting cluster {NAME}; waiting for it"]


@pytest.mark.parametrize("content", [b'{"who": "a dead run"}', b"not JSON"])
def test_a_lock_older_than_15_minutes_is_replaced(
    emr: Emulated, said: list[str], content: bytes
) -> None:
    ended = emr.start_and_end()
    emr.write_lock(content, minutes_old=16)
    started = wait(said)
    assert set(emr.clusters) == {ended, started}
    assert emr.lock() is None


def test_the_lock_is_released_if_the_start_is_refused(
    emr: Emulated, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emr.start_and_end()
    seen: list[bytes | None] = []

    def refuse(**_: object) -> None:
        seen.append(emr.lock())
        raise AwsError("refused")

    monkeypatch.setattr(aws.client("emr", REGION), "run_job_flow", refuse)
    with pytest.raises(AwsError, match="refused"):
        wait(said)
    assert seen[0] is not None
    assert emr.lock() is None


def test_the_lock_is_released_once_the_cluster_is_listed(
    emr: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr.start_and_end()
    run_job_flow = aws.client("emr", REGION).run_job_flow
    locks: dict[str, bytes | None] = {}

    def slow(**arguments: object) -> object:
        locks["being started"] = emr.lock()
        answer = run_job_flow(**arguments)
        emr.set_state(answer["JobFlowId"], "STARTING")
        return answer

    def say(_text: str) -> None:
        locks["waited for"] = emr.lock()

    monkeypatch.setattr(aws.client("emr", REGION), "run_job_flow", slow)
    with pytest.raises(ClusterError, match="still STARTING"):
        cluster.ensure_ready(
            NAME, REGION, say, poll_seconds=0.05, timeout_seconds=0.4, storage=STORAGE
        )
    assert locks["being started"] is not None
    assert locks["waited for"] is None


def test_a_lock_that_another_run_took_over_is_not_released(
    emr: Emulated, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emr.start_and_end()
    run_job_flow = aws.client("emr", REGION).run_job_flow

    def slow(**arguments: object) -> object:
        emr.write_lock(b"another's", minutes_old=0)
        return run_job_flow(**arguments)

    monkeypatch.setattr(aws.client("emr", REGION), "run_job_flow", slow)
    assert wait(said) in emr.clusters
    assert emr.lock() == b"another's"


def test_stop_terminates_only_the_active_cluster(emr: Emulated) -> None:
    other, ours = emr.start(Name="somebody-elses"), emr.start()
    stopped = cluster.stop(NAME, REGION)
    assert stopped is not None
    assert stopped.id == ours
    assert {each: kept.state for each, kept in emr.clusters.items()} == {
        other: "WAITING",
        ours: "TERMINATED",
    }
    assert cluster.stop(NAME, REGION) is None


def test_stop_reports_termination_protection_and_leaves_it_on(emr: Emulated) -> None:
    ours = emr.start()
    emr.clusters[ours].termination_protected = True
    with pytest.raises(ClusterError, match="--no-termination-protected") as raised:
        cluster.stop(NAME, REGION)
    assert ours in str(raised.value)
    assert emr.clusters[ours].termination_protected
    assert emr.clusters[ours].state == "WAITING"


def test_status_shows_the_running_steps_and_instances(emr: Emulated) -> None:
    ours = emr.start()
    step = {
        "Name": "featurize",
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar"},
    }
    pending = step | {"Name": "not yet"}
    aws.client("emr", REGION).add_job_flow_steps(JobFlowId=ours, Steps=[step, pending])
    found = cluster.status(NAME, REGION)
    assert found is not None
    assert (found.cluster.id, found.cluster.state) == (ours, "RUNNING")
    assert dict(found.instances) == {"m5.xlarge": 1, "m5.2xlarge": 2}
    assert (found.release, found.step_concurrency) == ("emr-7.13.0", 4)
    assert found.running_steps == ("featurize",)


def test_the_status_command_shows_a_terminated_cluster(emr: Emulated) -> None:
    ended = emr.start_and_end()
    emr.set_state(ended, "TERMINATED", "Idle [for] too long")
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 0, shown.output
    assert ended in shown.output
    assert "Idle [for] too long" in shown.output
    assert "none" in shown.output


def test_the_status_command_reports_that_there_is_no_cluster(emr: Emulated) -> None:
    assert list(emr.clusters) == []
    shown = CliRunner().invoke(app, ["status"])
    first, last = shown.output.splitlines()
    assert first == f"no cluster {NAME} in {REGION}, and none in the last two months"
    assert last.startswith("next    uv run fruits cluster start  #")


def test_the_stop_command_asks_for_confirmation(emr: Emulated) -> None:
    ours = emr.start()
    asked = CliRunner().invoke(app, ["stop"], input="n\n")
    assert (asked.exit_code, emr.clusters[ours].state) == (1, "WAITING")
    stopped = CliRunner().invoke(app, ["stop", "--yes"])
    assert (stopped.exit_code, emr.clusters[ours].state) == (0, "TERMINATED")


def test_the_start_command_starts_it_again(emr: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = emr.start_and_end()
    monkeypatch.setenv("FRUITS_STORAGE", str(STORAGE))
    done = CliRunner().invoke(app, ["start"])
    assert done.exit_code == 0, done.output
    (started,) = set(emr.clusters) - {ended}
    assert f"is ready: {started}\nnext    uv run fruits run  #" in done.output


def test_a_local_storage_has_no_start_arguments(emr: Emulated, tmp_path: Path) -> None:
    local = Location.parse(str(tmp_path))
    assert job_flow.lock(local, NAME) is None
    with pytest.raises(ClusterError, match="FRUITS_STORAGE"):
        cluster.ensure_ready(NAME, REGION, print, storage=local)
    assert list(emr.clusters) == []


def test_the_lock_is_stored_next_to_the_data() -> None:
    assert job_flow.lock(STORAGE, NAME) == LOCK
