"""Tables in a bucket: the same guarantees as in a folder, even with S3 faults."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from typing import Any

import pytest

from spark_src.errors import AwsError, ConcurrentWriteError, NothingStoredError
from spark_src.io import aws as aws_module
from spark_src.io import retries
from spark_src.io.aws import client, reset_clients
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.emr.faulty_s3 import Environ, Fault, FaultyS3, Rule
from tests.small_tables import ASSET, add, commit_rows, paths_of, statistics_of, write_rows

Serve = Callable[[Rule], FaultyS3]


@pytest.fixture
def tables(bucket: str) -> Tables:
    return Tables(Location.parse(f"s3://{bucket}/data set"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permanent failures are retried a few times only, without a pause."""
    few = {"max_retries": "4", "backoff_config.init_backoff": "1ms"}
    monkeypatch.setattr(aws_module, "_DELTA_RETRIES", few)
    monkeypatch.setattr(retries, "_FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Make S3 follow a rule from now on."""
    opened = []

    def start(rule: Rule) -> FaultyS3:
        server = WatchedS3(rule)
        opened.append(server.open())
        opened[-1].__enter__()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        reset_clients()
        return server

    yield start
    for server in opened:
        server.__exit__(None, None, None)


class WatchedS3(FaultyS3):
    """Records the access keys of requests."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.keys: set[str] = set()

    def _answer(self, environ: Environ, start_response: Any) -> Any:
        self.keys.add(environ["HTTP_AUTHORIZATION"].split("Credential=")[1].split("/")[0])
        return super()._answer(environ, start_response)


def commits_meet(fault: Fault, times: int = 1000) -> Rule:
    """A fault for the given number of commits; all other calls succeed."""
    left = [fault] * times

    def rule(_number: int, method: str, path: str) -> Fault | None:
        return left.pop() if left and method == "PUT" and "/_delta_log/" in path else None

    return rule


def no_fault(*_: object) -> None:
    return None


def test_a_committed_version_is_the_current_one_with_its_size(tables: Tables) -> None:
    assert tables.find(ASSET) is None
    version = add(tables, "run-1", "a.jpg", "b.jpg")
    assert tables.current(ASSET) == version
    assert (version.record.run_id, version.rows) == ("run-1", 2)
    assert version.bytes == len(version.locations[0].read())
    assert paths_of(version) == ["a.jpg", "b.jpg"]


def test_in_an_empty_bucket_the_error_names_the_command(tables: Tables) -> None:
    with pytest.raises(NothingStoredError, match="materialize --select"):
        tables.current(ASSET)


def test_the_history_lists_every_commit_the_latest_first(tables: Tables) -> None:
    for number in range(12):
        add(tables, f"run-{number}")
    runs = [commit.record.run_id for commit in tables.history(ASSET)]
    assert runs == [f"run-{number}" for number in range(11, -1, -1)]


@pytest.mark.parametrize("is_there", [True, False])
def test_the_later_of_two_commits_is_rejected_and_names_the_other_run(
    tables: Tables, is_there: bool
) -> None:
    if is_there:
        add(tables, "run-0", "old.jpg")
    first, second = tables.begin(ASSET, "run-1"), tables.begin(ASSET, "run-2")
    winner = commit_rows(second, "second.jpg")
    with pytest.raises(ConcurrentWriteError, match="run run-2 committed"):
        commit_rows(first, "first.jpg")
    assert tables.current(ASSET) == winner


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.RESET, Fault.SLOW_DOWN])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.usefixtures("impatient")
def test_a_commit_with_a_fault_or_a_lost_response_is_applied_exactly_once(
    tables: Tables, serve: Serve, fault: Fault, times: int
) -> None:
    server = serve(commits_meet(fault, times))
    first = add(tables, "run-1", "a.jpg")
    server.rule = commits_meet(fault, times)
    second = add(tables, "run-2", "b.jpg")
    assert server.met[fault] >= 2
    assert [commit.record for commit in tables.history(ASSET)] == [second.record, first.record]
    assert paths_of(tables.current(ASSET)) == ["a.jpg", "b.jpg"]


@pytest.mark.usefixtures("impatient")
def test_a_conflict_is_detected_even_if_the_response_is_lost(tables: Tables, serve: Serve) -> None:
    add(tables, "run-0", "old.jpg")
    write = tables.begin(ASSET, "run-1")
    winner = add(tables, "run-2", "quick.jpg")
    serve(commits_meet(Fault.ANSWER_LOST, 2))
    with pytest.raises(ConcurrentWriteError, match="run run-2 committed"):
        commit_rows(write, "slow.jpg")
    assert tables.current(ASSET) == winner


@pytest.mark.usefixtures("impatient")
def test_no_commit_is_lost_when_one_call_in_eight_fails(tables: Tables, serve: Serve) -> None:
    chance = Random(7)  # noqa: S311 - no secret
    faults = (Fault.RESET, Fault.ANSWER_LOST, Fault.SLOW_DOWN)
    server = serve(lambda *_: chance.choice(faults) if chance.random() < 1 / 8 else None)
    for number in range(3):
        add(tables, f"run-{number}", f"{number}.jpg")
    tables.vacuum(ASSET)
    tables.drop_history(ASSET)
    assert paths_of(tables.current(ASSET)) == ["0.jpg", "1.jpg", "2.jpg"]
    assert len(tables.history(ASSET)) == 1
    assert server.met.total() > 9


REFUSALS = {
    Fault.DENIED: ("AccessDenied", r"AccessDenied \(Access Denied\).*on this prefix"),
    Fault.EXPIRED: ("ExpiredToken", r"The provided token has expired.*aws sso login"),
    Fault.SLOW_DOWN: ("SlowDown", "start the run again later"),
    Fault.RESET: ("NetworkConnection", r"Connection reset.*Is there a network\?"),
}


@pytest.mark.parametrize("fault", REFUSALS)
@pytest.mark.usefixtures("impatient")
def test_a_commit_that_s3_refuses_is_reported_with_its_remedy_and_changes_nothing(
    tables: Tables, serve: Serve, fault: Fault
) -> None:
    before, (code, said) = add(tables, "run-0", "old.jpg"), REFUSALS[fault]
    write = tables.begin(ASSET, "run-1")
    file = write_rows(write, "new.jpg")
    server = serve(commits_meet(fault))
    with pytest.raises(AwsError, match=said) as caught:
        write.commit(statistics_of(["new.jpg", "old.jpg"]), [file])
    assert caught.value.code == code
    message = str(caught.value)
    assert message.startswith(f"committing {ASSET} under {tables.prefix(ASSET)} failed: {code}")
    assert "\x1b" not in message
    server.rule = no_fault
    assert tables.current(ASSET) == before


@pytest.mark.parametrize("fault", REFUSALS)
@pytest.mark.parametrize("use", ["find", "begin", "vacuum", "drop_history"])
@pytest.mark.usefixtures("impatient")
def test_every_s3_error_is_reported_with_its_remedy(
    tables: Tables, serve: Serve, fault: Fault, use: str
) -> None:
    add(tables, "run-0", "old.jpg")
    refused = "PUT" if use == "drop_history" else "GET"

    def refuse(_number: int, method: str, _path: str) -> Fault | None:
        return fault if method == refused else None

    serve(refuse)
    arguments = (ASSET, "run-1") if use == "begin" else (ASSET,)
    with pytest.raises(AwsError) as caught:
        getattr(tables, use)(*arguments)
    assert caught.value.code == REFUSALS[fault][0]


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_does_not_exist_is_named_with_the_remedy() -> None:
    tables = Tables(Location.parse("s3://fruits-no-such-bucket/data"))
    with pytest.raises(AwsError, match=r"fruits-no-such-bucket.*NoSuchBucket.*terraform apply"):
        tables.find(ASSET)


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_s3_is_reported_with_its_remedy(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AwsError, match=r"Connection refused.*Is there a network\?"):
        tables.find(ASSET)


class Elsewhere(BaseHTTPRequestHandler):
    """Responds as S3 does for a bucket in another region."""

    def do_GET(self) -> None:
        self.send_response(301)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.mark.usefixtures("impatient")
def test_a_bucket_of_another_region_is_reported_with_its_remedy(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(AwsError, match="set FRUITS_REGION to the bucket's"):
            tables.find(ASSET)
        server.shutdown()


def test_a_long_run_commits_with_its_current_credentials(
    tables: Tables, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tables, "run-0", "old.jpg")
    server = serve(no_fault)
    for name, value in (("ACCESS_KEY_ID", "of-the-morning"), ("SESSION_TOKEN", "token")):
        monkeypatch.setenv(f"AWS_{name}", value)
    write = tables.begin(ASSET, "run-1")
    file = write_rows(write, "new.jpg")
    assert server.keys == {"of-the-morning"}
    server.keys.clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-evening")
    write.commit(statistics_of(["new.jpg", "old.jpg"]), [file])
    assert server.keys == {"of-the-evening"}


def test_without_credentials_the_error_explains_how_to_sign_in(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and "KEY" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
    with pytest.raises(AwsError, match=r"there are no AWS credentials\. Sign in"):
        tables.find(ASSET)


def test_an_uncommitted_object_is_in_no_version(tables: Tables) -> None:
    add(tables, "run-0", "old.jpg")
    write_rows(tables.begin(ASSET, "run-1"), "lost.jpg")
    bucket, key = tables.prefix(ASSET).bucket_and_key
    found = client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{key}/part-")
    assert found["KeyCount"] == 2
    assert paths_of(tables.current(ASSET)) == ["old.jpg"]
