"""The listing has every object of the input in S3, with its ETag."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from spark_src.errors import AwsError, InputError
from spark_src.images.listing import list_files, require_some_file
from spark_src.io.aws import client
from spark_src.io.locations import Location


def test_objects_in_s3_have_their_key_size_time_and_etag(bucket: str) -> None:
    keys = ["A/1.jpg", "A/with space é%20#.jpg", "A/.DS_Store", "b", "C/", "_D/.2.jpg"]
    for key in keys:
        client("s3").put_object(Bucket=bucket, Key=f"input/{key}", Body=key.encode())
    client("s3").put_object(Bucket=bucket, Key="input-of-others/3.jpg", Body=b"x")
    listing = list_files(Location.parse(f"s3://{bucket}/input"))
    assert listing.files["path"].to_pylist() == [
        "A/1.jpg",
        "A/with space é%20#.jpg",
        "_D/.2.jpg",
        "b",
    ]
    assert listing.ignored == {".DS_Store": 1}
    rows = listing.files.to_pylist()
    for row in rows:
        head = client("s3").head_object(Bucket=bucket, Key=f"input/{row['path']}")
        assert row["source_bytes"] == head["ContentLength"]
        assert row["source_etag"] == head["ETag"].strip('"')
        assert row["source_modified"] == head["LastModified"]
        assert row["raw_path"] is None


def test_more_objects_than_a_page_holds_are_all_listed(bucket: str) -> None:
    def put(number: int) -> None:
        client("s3").put_object(Bucket=bucket, Key=f"input/{number}.jpg", Body=b"x")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(1_050)))
    assert list_files(Location.parse(f"s3://{bucket}/input")).n_listed == 1_050


def test_a_whole_bucket_can_be_the_input(bucket: str) -> None:
    client("s3").put_object(Bucket=bucket, Key="A/1.jpg", Body=b"x")
    listing = list_files(Location.parse(f"s3://{bucket}"))
    assert listing.files["path"].to_pylist() == ["A/1.jpg"]


@pytest.mark.parametrize("check", [list_files, require_some_file])
def test_a_prefix_without_objects_and_a_missing_bucket_are_named(
    bucket: str, check: object
) -> None:
    with pytest.raises(InputError, match=f"s3://{bucket}/none"):
        check(Location.parse(f"s3://{bucket}/none"))  # type: ignore[operator]
    with pytest.raises(AwsError, match="no-such-bucket"):
        check(Location.parse("s3://fruits-no-such-bucket/in"))  # type: ignore[operator]
