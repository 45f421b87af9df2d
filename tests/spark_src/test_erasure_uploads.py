"""Incomplete uploads, which listings do not show, are deleted as well."""

from __future__ import annotations

from spark_src.erasure.inputs import find_traces, remove_inputs
from spark_src.erasure.needles import Needles
from spark_src.erasure.purge import purge
from spark_src.erasure.scan import earlier_versions
from spark_src.erasure.target import Target
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.spark_src.erasure_storage import commit_all

ANNA = Target.from_names("anna")


def begin_upload(bucket: str, key: str) -> None:
    s3 = client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)
    part = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"], "PartNumber": 1}
    s3.upload_part(**part, Body=b"half of a photo")


def uploads_in(bucket: str) -> list[str]:
    found = client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sorted(item["Key"] for item in found)


def test_only_the_persons_incomplete_uploads_are_found_and_deleted(bucket: str) -> None:
    others = ["input/photos/anna-2/1.jpg", "input/photos/ben/1.jpg"]
    for key in ("input/photos/anna/1.jpg", "input/photos/anna//2.jpg", *others):
        begin_upload(bucket, key)
    source = Location.parse(f"s3://{bucket}/input")
    assert find_traces(source, ANNA).earlier == 2
    needles = Needles.from_target(ANNA, source, [])
    assert earlier_versions(source, needles) == 2
    assert remove_inputs(source, ANNA) == 2
    assert uploads_in(bucket) == others
    assert earlier_versions(source, needles) == 0


def test_a_single_pictures_incomplete_upload_is_deleted_with_it(bucket: str) -> None:
    for key in ("input/shop/1.jpg", "input/shop/1.jpg.bak"):
        begin_upload(bucket, key)
    target = Target(None, frozenset({"a" * 64}), frozenset({"shop/1.jpg"}))
    assert remove_inputs(Location.parse(f"s3://{bucket}/input"), target) == 1
    assert uploads_in(bucket) == ["input/shop/1.jpg.bak"]


def test_a_purge_deletes_every_incomplete_upload_under_the_storage(bucket: str) -> None:
    root = Location.parse(f"s3://{bucket}")
    tables, _ = commit_all(Tables(root / "data"), root / "input")
    for key in ("data/raw_images/part-1.parquet", "data/staging/x", "elsewhere/x"):
        begin_upload(bucket, key)
    assert earlier_versions(tables.root) >= 2
    purge(tables, "erase-1")
    assert uploads_in(bucket) == ["elsewhere/x"]
