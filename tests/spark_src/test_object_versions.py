"""Objects are deleted from a versioned bucket with all of their versions."""

from __future__ import annotations

from typing import Any

import pytest

from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.aws import client
from spark_src.io.locations import Location


@pytest.fixture
def folder(bucket: str) -> Location:
    """A folder in a bucket that keeps every version: two of `a.jpg`, a deleted `b.jpg`, `c.jpg`."""
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a.jpg", "a.jpg", "b.jpg", "c.jpg"):
        s3.put_object(Bucket=bucket, Key=f"photos/anna/{key}", Body=key.encode())
    s3.delete_object(Bucket=bucket, Key="photos/anna/b.jpg")
    s3.put_object(Bucket=bucket, Key="photos/anna-2/a.jpg", Body=b"another person's")
    return Location.parse(f"s3://{bucket}/photos/anna")


def versions(folder: Location) -> list[str]:
    bucket = folder.bucket_and_key[0]
    found: dict[str, Any] = client("s3").list_object_versions(Bucket=bucket)
    items = found.get("Versions", []) + found.get("DeleteMarkers", [])
    return sorted(item["Key"].removeprefix("photos/") for item in items)


def test_a_file_is_deleted_with_every_version_of_it_and_no_other(folder: Location) -> None:
    assert object_versions.delete(folder / "a.jpg") == 2
    assert versions(folder) == ["anna-2/a.jpg", "anna/b.jpg", "anna/b.jpg", "anna/c.jpg"]


def test_a_folder_is_deleted_with_its_earlier_deleted_objects(folder: Location) -> None:
    assert object_versions.delete_all(folder) == 5
    assert versions(folder) == ["anna-2/a.jpg"]


def test_earlier_versions_are_deleted_and_current_ones_kept(folder: Location) -> None:
    assert len(object_versions.leftovers(folder)) == 3
    assert object_versions.delete_earlier(folder) == 3
    assert versions(folder) == ["anna-2/a.jpg", "anna/a.jpg", "anna/c.jpg"]
    assert object_versions.leftovers(folder) == []
    assert (folder / "a.jpg").read() == b"a.jpg"


def test_versions_that_must_not_be_deleted_are_named_with_the_remedy(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"Errors": [{"Code": "AccessDenied", "Key": "photos/anna/a.jpg"}]}
    monkeypatch.setattr(client("s3"), "delete_objects", lambda **_: refused)
    with pytest.raises(ErasureError, match=r"AccessDenied.*Use the role for erasure"):
        object_versions.delete(folder / "a.jpg")
