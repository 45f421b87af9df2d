"""Permanent deletion: a versioned bucket keeps deleted objects as earlier versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from spark_src.errors import ErasureError
from spark_src.io.aws import aws_errors, client, error_code
from spark_src.io.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_AT_ONCE = 1000
"""Maximum number of objects that S3 deletes in one call."""


def delete(file: Location) -> int:
    """Delete a file, in S3 with all versions and delete markers; return the number deleted."""
    if file.scheme == "s3":
        return _purge(file, lambda item, key: item["Key"] == key)
    if not file.exists():
        return 0
    file.filesystem.delete_file(file.path)
    return 1


def delete_all(folder: Location) -> int:
    """In S3: delete all versions and delete markers in a folder; return the number deleted."""
    return _purge(folder / "", lambda _, __: True) if folder.scheme == "s3" else 0


def delete_earlier(folder: Location) -> int:
    """In S3: delete all noncurrent versions and delete markers in a folder."""
    return (
        _purge(folder / "", lambda item, _: not _is_current(item)) if folder.scheme == "s3" else 0
    )


def delete_earlier_of(file: Location) -> int:
    """In S3: delete all noncurrent versions and delete markers of a file."""
    if file.scheme != "s3":
        return 0
    return _purge(file, lambda item, key: item["Key"] == key and not _is_current(item))


def leftovers(folder: Location) -> list[str]:
    """In S3: the remaining noncurrent versions and delete markers."""
    if folder.scheme != "s3":
        return []
    bucket = folder.bucket_and_key[0]
    found = [item for item in _versions(folder / "") if not _is_current(item)]
    return [f"s3://{bucket}/{item['Key']}?versionId={item['VersionId']}" for item in found]


def uploads(folder: Location) -> list[str]:
    """In S3: keys of incomplete multipart uploads.

    Their parts are stored and billed, but not shown in listings of objects.
    """
    if folder.scheme != "s3":
        return []
    return [item["Key"] for item in _uploads(folder / "")]


def abort_uploads(folder: Location, file: bool = False) -> int:
    """In S3: abort incomplete multipart uploads, which deletes their parts; return their number.

    Args:
        folder: the folder of the objects, or a single object.
        file: whether `folder` is a single object.
    """
    if folder.scheme != "s3":
        return 0
    bucket, key = folder.bucket_and_key
    found = list(_uploads(folder if file else folder / ""))
    aborted = [item for item in found if not file or item["Key"] == key]
    for item in aborted:
        with aws_errors(f"aborting uploads under {folder}"), _ignore_missing_upload():
            client("s3").abort_multipart_upload(
                Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"]
            )
    return len(aborted)


@contextmanager
def _ignore_missing_upload() -> Iterator[None]:
    """Ignore uploads that have been completed or aborted in the meantime."""
    try:
        yield
    except ClientError as error:
        if error_code(error) != "NoSuchUpload":
            raise


def _uploads(location: Location) -> Iterator[Mapping[str, Any]]:
    bucket, prefix = location.bucket_and_key
    with aws_errors(f"listing the uploads under {location}"):
        pages = client("s3").get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Uploads", [])


def _is_current(item: Mapping[str, Any]) -> bool:
    return bool(item["IsLatest"]) and "ETag" in item  # a delete marker has no content


def _versions(location: Location) -> Iterator[Mapping[str, Any]]:
    bucket, prefix = location.bucket_and_key
    with aws_errors(f"listing the versions under {location}"):
        pages = client("s3").get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Versions", [])
            yield from page.get("DeleteMarkers", [])


def _purge(location: Location, wanted: Any) -> int:
    bucket, key = location.bucket_and_key
    items = [item for item in _versions(location) if wanted(item, key)]
    for start in range(0, len(items), _AT_ONCE):
        objects: list[ObjectIdentifierTypeDef] = [
            {"Key": item["Key"], "VersionId": item["VersionId"]}
            for item in items[start : start + _AT_ONCE]
        ]
        with aws_errors(f"deleting versions under {location}"):
            answer = client("s3").delete_objects(Bucket=bucket, Delete={"Objects": objects})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise ErasureError(
                f"{len(answer['Errors'])} of {len(objects)} versions under {location} could not be "
                f"deleted: {first['Code']} ({first['Key']}). Use the role for erasure, and "
                "try again; finished deletions are kept."
            )
    return len(items)
