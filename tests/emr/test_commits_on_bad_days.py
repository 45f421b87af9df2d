"""Commits with faults of S3: each is applied once or not at all, even if the response is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from moto.s3.models import s3_backends

from spark_src.errors import AwsError, ConcurrentWriteError
from spark_src.io.aws import client, reset_clients
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, Snapshot, Tables
from spark_src.tables.statistics import RejectedImagesStatistics
from tests.emr.emulated_cluster import ACCOUNT, REGION
from tests.emr.faulty_s3 import Fault, FaultyS3, Rule

ASSET = "rejected_images"
LEDGER = RejectedImagesStatistics(digest="d", input="s3://bucket/input", fingerprint="f")


@pytest.fixture
def s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:  # noqa: ARG001
    """The S3 of this process, initially without faults."""
    with FaultyS3(lambda *_: None).open() as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        reset_clients()
        yield s3


@pytest.fixture
def tables(bucket: str, s3: FaultyS3) -> Tables:  # noqa: ARG001
    return Tables(Location.parse(f"s3://{bucket}/data"))


def once(method: str, part: str, fault: Fault | Callable[[], None]) -> Rule:
    """The first matching call gets the fault, or happens after the given function."""
    left = [1]

    def rule(_number: int, called: str, path: str) -> Fault | None:
        if called != method or part not in path or not left:
            return None
        left.pop()
        return fault if isinstance(fault, Fault) else fault()

    return rule


def commit(tables: Tables, run_id: str, rows: int = 1) -> Snapshot:
    write = tables.begin(ASSET, run_id)
    known = write.before.rows if write.before else 0
    statistics = LEDGER.model_copy(update={"rows": known + rows})
    return write.commit(statistics, [DataFile(f"{run_id}.parquet", 1, rows)])


def files_of(tables: Tables) -> list[str]:
    return [file.name for file in tables.current(ASSET).files]


@pytest.mark.parametrize("earlier", [[], ["first"]], ids=["first commit", "later commit"])
@pytest.mark.parametrize(
    "fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.ANSWER_LOST, Fault.ANSWER_WRONG]
)
def test_a_commit_with_a_fault_is_applied_once(
    fault: Fault, earlier: list[str], s3: FaultyS3, tables: Tables
) -> None:
    for run_id in earlier:
        commit(tables, run_id)
    s3.rule = once("PUT", "/_delta_log/", fault)
    done = commit(tables, "second")
    assert s3.met[fault] == 1
    assert done.record.run_id == "second"
    assert files_of(tables) == [f"{run_id}.parquet" for run_id in [*earlier, "second"]]
    assert len(tables.history(ASSET)) == len(earlier) + 1


@pytest.mark.parametrize("earlier", [[], ["first"]], ids=["first commit", "later commit"])
def test_one_of_two_simultaneous_commits_is_refused(
    earlier: list[str], s3: FaultyS3, tables: Tables
) -> None:
    for run_id in earlier:
        commit(tables, run_id)

    def winner() -> None:
        other = threading.Thread(target=commit, args=(tables, "winner"))
        other.start()
        other.join()

    s3.rule = once("PUT", "/_delta_log/", winner)
    with pytest.raises(ConcurrentWriteError, match="run winner committed version"):
        commit(tables, "loser")
    assert files_of(tables) == [f"{run_id}.parquet" for run_id in [*earlier, "winner"]]


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.ANSWER_LOST])
def test_deletes_with_a_fault_are_retried(
    fault: Fault, bucket: str, s3: FaultyS3, tables: Tables
) -> None:
    commit(tables, "first")
    unused = f"data/{ASSET}/unused.parquet"
    client("s3", REGION).put_object(Bucket=bucket, Key=unused, Body=b"")
    stored = s3_backends[ACCOUNT]["aws"].buckets[bucket].keys[unused]
    stored.last_modified = datetime.now(UTC) - timedelta(days=8)
    s3.rule = once("POST", "", fault)
    tables.vacuum(ASSET)
    assert s3.met[fault] == 1
    found = client("s3", REGION).list_objects_v2(Bucket=bucket, Prefix=unused)
    assert found["KeyCount"] == 0
    assert files_of(tables) == ["first.parquet"]


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [(Fault.DENIED, "needs this action on this prefix"), (Fault.EXPIRED, "aws sso login")],
)
def test_a_failed_commit_is_reported_with_prefix_and_fix(
    fault: Fault, remedy: str, s3: FaultyS3, tables: Tables
) -> None:
    commit(tables, "first")
    s3.rule = lambda _number, method, _path: fault if method == "PUT" else None
    with pytest.raises(AwsError, match=f"(?s){ASSET}.*{remedy}"):
        commit(tables, "second")
    s3.rule = lambda *_: None
    assert files_of(tables) == ["first.parquet"]
