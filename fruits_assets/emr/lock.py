"""A lock in S3, so that of several runs one starts the cluster. Taken by conditional puts."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from spark_src.errors import AwsError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

LOCK_LASTS = timedelta(minutes=15)
"""A process that has held the lock for longer is considered dead."""


@contextmanager
def acquire_lock(lock: Location | None, region: str) -> Iterator[str | None]:
    """Hold the lock in the block; what comes is who else has it, None where this run does."""
    if lock is None:
        yield None
        return
    who = f"another run ({socket.gethostname()}, process {os.getpid()})"
    when, token = datetime.now(UTC).isoformat(), uuid.uuid4().hex
    mine = json.dumps({"who": who, "when": when, "token": token}).encode()
    holder = _take(lock, mine, region)
    try:
        yield holder
    finally:
        if holder is None:
            _let_go(lock, mine, region)


def _take(lock: Location, mine: bytes, region: str) -> str | None:
    if _put(lock, mine, region, IfNoneMatch="*"):
        return None
    content, etag, age = _look(lock, region)
    if age > LOCK_LASTS and _put(lock, mine, region, IfMatch=etag):
        return None
    try:
        return str(json.loads(content)["who"])
    except (ValueError, KeyError, TypeError):
        return "another run"


def _put(lock: Location, mine: bytes, region: str, **condition: str) -> bool:
    s3, (bucket, key) = client("s3", region), lock.bucket_and_key
    try:
        with aws_errors(f"writing {lock}"):
            s3.put_object(Bucket=bucket, Key=key, Body=mine, **condition)
    except AwsError as error:
        if error.code not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
            raise
        # A try whose answer was lost may have written it before the next one was refused.
        return _look(lock, region)[0] == mine
    return True


def _look(lock: Location, region: str) -> tuple[bytes, str, timedelta]:
    """The lock's content, ETag and age by S3's own clock; empty and new where there is none."""
    s3, (bucket, key) = client("s3", region), lock.bucket_and_key
    try:
        with aws_errors(f"reading {lock}"):
            found = s3.get_object(Bucket=bucket, Key=key)
            content = found["Body"].read()
    except AwsError as error:
        if error.code != "NoSuchKey":
            raise
        return b"", "", timedelta(0)
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    return content, found["ETag"], now - found["LastModified"]


def _let_go(lock: Location, mine: bytes, region: str) -> None:
    s3, (bucket, key) = client("s3", region), lock.bucket_and_key
    try:
        content, etag, _ = _look(lock, region)
        if content == mine:
            with aws_errors(f"deleting {lock}"):
                s3.delete_object(Bucket=bucket, Key=key, IfMatch=etag)
    except AwsError:
        return  # the cluster starts all the same, and others break a lock that is too old
