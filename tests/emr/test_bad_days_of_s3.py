"""Faults of S3: failed calls are retried, and permanent failures are reported with the fix."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests import java
from tests.conftest import new_bucket
from tests.emr.conftest import run_command
from tests.emr.emulated_cluster import REGION
from tests.emr.faulty_s3 import Fault, FaultyS3, Rule, every

Run = Callable[..., subprocess.CompletedProcess[str]]

PICTURES = 24
MINUTE = 60.0


@pytest.fixture
def bucket(aws: str, sample: Path) -> str:  # noqa: ARG001
    """A separate bucket with a few pictures."""
    name = new_bucket(REGION)
    for file in sorted(sample.rglob("*.jpg"))[:: 240 // PICTURES]:
        key = f"input/{file.relative_to(sample)}"
        client("s3", REGION).upload_file(str(file), name, key)
    return name


@pytest.fixture
def run(bucket: str, tmp_path: Path) -> Run:
    """Run a command with a separate home, and S3 with the faults of the rule."""
    java.s3a_jars()

    def execute(rule: Rule, *command: str) -> subprocess.CompletedProcess[str]:
        with FaultyS3(rule).open() as s3:
            done = run_command(
                *command,
                AWS_ENDPOINT_URL=s3.url,
                DAGSTER_HOME=str(tmp_path),
                FRUITS_INPUT=f"s3://{bucket}/input",
                FRUITS_STORAGE=f"s3://{bucket}/data",
            )
            assert s3.met, "no call met a fault"
        return done

    return execute


def materialize(select: str) -> tuple[str, ...]:
    few = '{"ops": {"pca_model": {"config": {"n_components": 5}}}}'
    config = ("--config-json", few) if select == "*" else ()
    return ("dagster", "asset", "materialize", "--select", select, *config)


def test_a_run_succeeds_and_loses_nothing_if_every_tenth_call_fails(run: Run, bucket: str) -> None:
    faults = (Fault.SLOW_DOWN, Fault.RESET, Fault.SLOW, Fault.ANSWER_LOST)
    done = run(every(10, *faults), *materialize("*"))
    assert done.returncode == 0, done.stderr[-6000:]
    tables = Tables(Location.parse(f"s3://{bucket}/data"))
    for asset in ("raw_images", "mobilenet_features", "pca_components", "csv_export"):
        assert tables.current(asset).statistics.rows == PICTURES, asset
    checked = run(every(10, *faults), "fruits", "check")
    lost = [line for line in checked.stdout.splitlines() if "no_image_lost" in line]
    assert [" passes " in line for line in lost] == [True] * 4, checked.stdout
    assert "cannot run" not in checked.stdout


def test_access_denied_is_reported_with_prefix_and_fix_within_a_minute(
    run: Run,
) -> None:
    def deny(_number: int, method: str, path: str) -> Fault | None:
        return Fault.DENIED if method != "GET" and "/data/raw_images" in path else None

    started = time.monotonic()
    done = run(deny, *materialize("raw_images"))
    assert done.returncode != 0
    assert "data/raw_images" in done.stderr
    assert "needs this action on this prefix" in done.stderr
    assert time.monotonic() - started < MINUTE


def test_expired_credentials_are_reported_with_the_fix_within_a_minute(
    run: Run, bucket: str
) -> None:
    expired_at: list[float] = []

    def expire(_number: int, method: str, path: str) -> Fault | None:
        if method == "PUT" and "/data/raw_images" in path and not expired_at:
            expired_at.append(time.monotonic())
        return Fault.EXPIRED if expired_at else None

    done = run(expire, *materialize("raw_images"))
    assert time.monotonic() - expired_at[0] < MINUTE
    assert done.returncode != 0
    assert "AwsError" in done.stderr, done.stderr[-4000:]
    assert "aws sso login" in done.stderr
    assert Tables(Location.parse(f"s3://{bucket}/data")).find("raw_images") is None
