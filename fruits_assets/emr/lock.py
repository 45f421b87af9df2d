"""A lock in S3, based on conditional puts, so that only one of several runs starts the cluster."""

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
from spark_src.io.conditional import put_if
from spark_src.io.locations import Location

LOCK_TTL = timedelta(minutes=15)
"""Age after which a lock's holder is considered dead."""


@contextmanager
def acquire_lock(lock: Location | None, region: str) -> Iterator[str | None]:
    """Try to hold the lock in the block; yield the other holder, or None if this run holds it."""
    if lock is None:
        yield None
        return
    who = f"another run ({socket.gethostname()}, process {os.getpid()})"
    when, token = datetime.now(UTC).isoformat(), uuid.uuid4().hex
    content = json.dumps({"who": who, "when": when, "token": token}).encode()
    holder = _acquire(lock, content, region)
    try:
        yield holder
    finally:
        if holder is None:
            _release(lock, content, region)


def _acquire(lock: Location, content: bytes, region: str) -> str | None:
    if put_if(lock, content, region):
        return None
    current, etag, age = _read(lock, region)
    if age > LOCK_TTL and put_if(lock, content, region, etag):
        return None
    try:
        return str(json.loads(current)["who"])
    except (ValueError, KeyError, TypeError):
        return "another run"


def _read(lock: Location, region: str) -> tuple[bytes, str, timedelta]:
    """The lock's content, ETag and age by S3's clock; empty values if there is none."""
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


def _release(lock: Location, content: bytes, region: str) -> None:
    s3, (bucket, key) = client("s3", region), lock.bucket_and_key
    try:
        current, etag, _ = _read(lock, region)
        if current == content:
            with aws_errors(f"deleting {lock}"):
                s3.delete_object(Bucket=bucket, Key=key, IfMatch=etag)
    except AwsError:
        return  # the cluster starts anyway, and other runs replace an expired lock
