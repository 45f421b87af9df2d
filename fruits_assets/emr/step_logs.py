"""Why a step failed: what it said at last, in the files that it and EMR leave in S3."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable

from fruits_assets.dagster_internals import raise_execution_interrupts
from fruits_assets.emr.submission import StepFiles, StepState
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

LAST_LINES = 30

EMR_LOG_SECONDS = 360.0
"""How long EMR may take to copy a log: it does so every five minutes."""

_POLL_SECONDS = 10.0

_EXECUTOR_SIGNS = (
    "has not accepted any resources",
    "Container from a bad node",
    "Container marked as failed",
    "Container killed",
    "Lost executor",
    "Max number of executor failures",
    "is lost",
)
"""What Spark's driver says where executors do not start, or end."""

Say = Callable[[str], object]


class ExecutorWarnings:
    """What the driver says of executors that do not start or were lost, each line once."""

    def __init__(self, files: StepFiles, region: str) -> None:
        self._files, self._region = files, region
        self._seen: set[str] = set()

    def new(self) -> list[str]:
        """The lines that have come since the last call."""
        lines = read_text(self._files.stderr, self._region).splitlines()
        found = [line for line in lines if any(sign in line for sign in _EXECUTOR_SIGNS)]
        new = [line for line in dict.fromkeys(found) if line not in self._seen]
        self._seen.update(new)
        return new


def last_lines(text: str) -> str:
    """The last lines that say more than how things go."""
    lines = [line for line in text.strip().splitlines() if " INFO " not in line]
    return "\n".join(lines[-LAST_LINES:])


def explain_failure(  # noqa: PLR0913 - where to look, and how long
    files: StepFiles,
    log_uri: str,
    step: StepState,
    region: str,
    say: Say,
    *,
    patience_seconds: float = EMR_LOG_SECONDS,
) -> str:
    """The last lines that a step said, or where they will be.

    Args:
        files: the step's own, where its start program puts them at once.
        log_uri: where EMR copies the step's log to; empty: nowhere.
        step: its state.
        region: of both.
        say: takes a line, where EMR's log has to be waited for.
        patience_seconds: how long it is waited for.
    """
    if said := last_lines(read_text(files.stderr, region)):
        return f"The last it said:\n{said}"
    uri = step.log_file or log_uri
    if not uri.startswith(("s3://", "s3n://")):
        return "It said nothing, and the cluster copies no logs to S3 (it has no LogUri)."
    log = Location.parse(uri.replace("s3n://", "s3://", 1))
    if said := last_lines(_wait_for(log, region, say, patience_seconds)):
        return f"The last it said ({log.uri}):\n{said}"
    return f"EMR has not copied its log yet; it will be {log.uri}"


def _wait_for(log: Location, region: str, say: Say, patience_seconds: float) -> str:
    until = time.monotonic() + patience_seconds
    if said := read_text(log, region):
        return said
    say(
        f"EMR copies the step's log to {log.uri}, every five minutes; waiting for it, at most "
        f"{patience_seconds / 60:.0f} minutes"
    )
    while time.monotonic() < until:
        with raise_execution_interrupts():
            time.sleep(min(_POLL_SECONDS, patience_seconds / 10))
        if said := read_text(log, region):
            return said
    return ""


def find_log_uri(cluster_id: str, step_id: str, region: str) -> str:
    """Where EMR copies the step's log to; empty where the cluster keeps none."""
    with aws_errors(f"describing cluster {cluster_id}"):
        found = client("emr", region).describe_cluster(ClusterId=cluster_id)["Cluster"]
    uri = str(found.get("LogUri") or "")
    return f"{uri.rstrip('/')}/{cluster_id}/steps/{step_id}/stderr.gz" if uri else ""


def read_text(file: Location, region: str) -> str:
    """A log in S3, unpacked where it is a .gz; empty where it is not there."""
    bucket, key = file.bucket_and_key
    s3 = client("s3", region)
    with aws_errors(f"reading {file.uri}"):
        try:
            content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
            return ""
    if key.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            return ""  # half copied
    return str(content.decode(errors="replace"))
