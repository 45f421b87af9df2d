"""Explains a failed step by the last lines of its logs in S3."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import Callable

from fruits_assets.dagster_internals import raise_execution_interrupts
from fruits_assets.emr.submission import StepFiles, StepState
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

LAST_LINES = 30

EMR_LOG_SECONDS = 360.0
"""How long to wait for EMR to copy a log, which it does every five minutes."""

_POLL_SECONDS = 10.0

_NOISE = re.compile(r" INFO |^\t(at |\.\.\. \d+ more)")

_EXECUTOR_SIGNS = (
    "has not accepted any resources",
    "Container from a bad node",
    "Container marked as failed",
    "Container killed",
    "Lost executor",
    "Max number of executor failures",
    "is lost",
)
"""Messages of Spark's driver when executors do not start or are lost."""

Say = Callable[[str], object]


class ExecutorWarnings:
    """The driver's warnings about executors that do not start or are lost, each line once."""

    def __init__(self, files: StepFiles, region: str) -> None:
        self._files, self._region = files, region
        self._seen: set[str] = set()

    def new(self) -> list[str]:
        """The new lines since the last call."""
        lines = read_text(self._files.stderr, self._region).splitlines()
        found = [line for line in lines if any(sign in line for sign in _EXECUTOR_SIGNS)]
        new = [line for line in dict.fromkeys(found) if line not in self._seen]
        self._seen.update(new)
        return new


def last_lines(text: str) -> str:
    """The last lines above INFO level, without Java's stack frames, which Spark prints last."""
    lines = [line for line in text.strip().splitlines() if not _NOISE.search(line)]
    return "\n".join(lines[-LAST_LINES:])


def explain_failure(  # noqa: PLR0913 - where to look, and how long
    files: StepFiles,
    log_uri: str,
    step: StepState,
    region: str,
    say: Say,
    *,
    timeout_seconds: float = EMR_LOG_SECONDS,
) -> str:
    """The last log lines of a step, or the location where EMR will put them.

    Args:
        files: the step's files; its start program writes stderr there immediately.
        log_uri: where EMR copies the step's log; empty if it does not.
        step: the step's state.
        region: the region of both buckets.
        say: called with a progress line while waiting for EMR's log.
        timeout_seconds: how long to wait for it.
    """
    if lines := last_lines(read_text(files.stderr, region)):
        return f"Last lines of its output:\n{lines}"
    uri = step.log_file or log_uri
    if not uri.startswith(("s3://", "s3n://")):
        return "It has no output, and the cluster copies no logs to S3 (it has no LogUri)."
    log = Location.parse(uri.replace("s3n://", "s3://", 1))
    if lines := last_lines(_wait_for(log, region, say, timeout_seconds)):
        return f"Last lines of its log ({log.uri}):\n{lines}"
    return f"EMR has not copied its log yet. It will be in {log.uri}"


def _wait_for(log: Location, region: str, say: Say, timeout_seconds: float) -> str:
    until = time.monotonic() + timeout_seconds
    if lines := read_text(log, region):
        return lines
    say(
        f"EMR copies the step's log to {log.uri} every five minutes; waiting for it for up to "
        f"{timeout_seconds / 60:.0f} minutes"
    )
    while time.monotonic() < until:
        with raise_execution_interrupts():
            time.sleep(min(_POLL_SECONDS, timeout_seconds / 10))
        if lines := read_text(log, region):
            return lines
    return ""


def find_log_uri(cluster_id: str, step_id: str, region: str) -> str:
    """The URI to which EMR copies the step's log; empty if the cluster has no LogUri."""
    with aws_errors(f"describing cluster {cluster_id}"):
        found = client("emr", region).describe_cluster(ClusterId=cluster_id)["Cluster"]
    uri = str(found.get("LogUri") or "")
    return f"{uri.rstrip('/')}/{cluster_id}/steps/{step_id}/stderr.gz" if uri else ""


def read_text(file: Location, region: str) -> str:
    """A log in S3, unpacked if it is a .gz; empty if it does not exist."""
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
            return ""  # incomplete copy
    return str(content.decode(errors="replace"))
