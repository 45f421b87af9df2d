"""Conditional writes to S3. No other module sends `If-None-Match` or `If-Match` with a write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_src.errors import AwsError
from spark_src.io.aws import aws_errors, client

if TYPE_CHECKING:
    from spark_src.io.locations import Location

_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


def put_if(
    location: Location, content: bytes, region: str | None = None, etag: str | None = None
) -> bool:
    """Write an object only if there is none, or only over a certain version of it.

    Args:
        location: the object.
        content: its content.
        region: of the bucket; by default the process's region.
        etag: of the version to replace; None: there must be no object.

    Returns:
        Whether the object has this content now.

    Raises:
        AwsError: S3 refused the write for another reason.
    """
    bucket, key = location.bucket_and_key
    s3 = client("s3", region)
    try:
        with aws_errors(f"writing {location}"):
            if etag is None:
                s3.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=content, IfMatch=etag)
    except AwsError as error:
        if error.code not in _REFUSED:
            raise
        # An attempt whose response was lost may have written it before the retry was refused.
        return _read(location, region) == content
    return True


def _read(location: Location, region: str | None) -> bytes | None:
    bucket, key = location.bucket_and_key
    try:
        with aws_errors(f"reading {location}"):
            return bytes(client("s3", region).get_object(Bucket=bucket, Key=key)["Body"].read())
    except AwsError as error:
        if error.code != "NoSuchKey":
            raise
        return None
