"""Which buckets may hold data: each rejection names the bucket and the remedy."""

from __future__ import annotations

import logging
import re
import uuid

import pytest

from spark_src.errors import AwsError, ResidencyError
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.io.residency import inspect_bucket, require_in_region

REGION = "eu-west-1"
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@pytest.fixture
def american(aws: str) -> str:  # noqa: ARG001
    """A bucket in us-east-1, for which S3 returns no region."""
    name = f"fruits-{uuid.uuid4().hex[:12]}"
    client("s3", "us-east-1").create_bucket(Bucket=name)
    return name


def in_s3(*buckets: str) -> list[Location]:
    return [Location.parse(f"s3://{bucket}/store") for bucket in buckets]


def refusal(*buckets: str) -> str:
    with pytest.raises(ResidencyError) as caught:
        require_in_region(in_s3(*buckets), REGION)
    return str(caught.value)


def block_all_but(bucket: str, *left_open: str) -> None:
    blocks = {name: name not in left_open for name in BLOCKS}
    s3 = client("s3", REGION)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocks)


def test_a_closed_encrypted_bucket_in_the_region_is_accepted(bucket: str) -> None:
    (finding,) = require_in_region(in_s3(bucket), REGION)
    assert finding.ok
    assert (finding.bucket, finding.region) == (bucket, REGION)
    assert (finding.public_access_blocked, finding.encryption) == (True, "aws:kms")


def test_a_bucket_elsewhere_is_refused_with_both_regions_and_the_remedy(american: str) -> None:
    text = refusal(american)
    assert f"s3://{american} is in us-east-1, not in the configured eu-west-1" in text
    assert "terraform apply" in text
    assert "set FRUITS_REGION" in text


def test_a_bucket_of_the_region_is_elsewhere_for_another_region(bucket: str) -> None:
    with pytest.raises(ResidencyError, match="is in eu-west-1, not in the configured eu-west-3"):
        require_in_region(in_s3(bucket), "eu-west-3")


@pytest.mark.parametrize(
    ("answer", "region"),
    [(None, "us-east-1"), ("", "us-east-1"), ("EU", "eu-west-1"), ("eu-west-3", "eu-west-3")],
)
def test_legacy_location_constraints_are_mapped_to_regions(
    answer: str | None, region: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = client("s3", REGION)
    location = {"LocationConstraint": answer}
    monkeypatch.setattr(s3, "get_bucket_location", lambda **_: location)
    assert inspect_bucket(bucket, REGION).region == region


def test_a_bucket_without_a_public_access_block_is_refused_with_the_remedy(bucket: str) -> None:
    client("s3", REGION).delete_public_access_block(Bucket=bucket)
    text = refusal(bucket)
    assert f"s3://{bucket} in eu-west-1 does not block all public access" in text
    assert f"aws s3api put-public-access-block --bucket {bucket} " in text
    assert "encryption" not in text


@pytest.mark.parametrize("left_open", BLOCKS)
def test_each_of_the_four_blocks_is_needed(left_open: str, bucket: str) -> None:
    block_all_but(bucket, left_open)
    assert "does not block all public access" in refusal(bucket)


def test_a_bucket_without_default_encryption_is_refused_with_the_remedy(bucket: str) -> None:
    client("s3", REGION).delete_bucket_encryption(Bucket=bucket)
    text = refusal(bucket)
    assert f"s3://{bucket} in eu-west-1 has no default encryption" in text
    assert f"aws s3api put-bucket-encryption --bucket {bucket} " in text
    assert (
        '\'{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}\'' in text
    )
    assert "public access" not in text


def test_every_fault_of_every_bucket_is_in_the_one_message(bucket: str, american: str) -> None:
    client("s3", REGION).delete_public_access_block(Bucket=bucket)
    client("s3", REGION).delete_bucket_encryption(Bucket=bucket)
    text = refusal(bucket, american)
    assert f"{bucket} in eu-west-1 does not block all public access" in text
    assert f"{bucket} in eu-west-1 has no default encryption" in text
    assert f"{american} is in us-east-1" in text


def test_a_missing_bucket_is_reported_with_the_remedy(aws: str) -> None:  # noqa: ARG001
    with pytest.raises(AwsError, match=r"s3://fruits-nowhere .*NoSuchBucket.*terraform") as caught:
        require_in_region(in_s3("fruits-nowhere"), REGION)
    assert caught.value.code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("call", "action"),
    [
        ("get_bucket_location", "s3:GetBucketLocation"),
        ("get_public_access_block", "s3:GetBucketPublicAccessBlock"),
        ("get_bucket_encryption", "s3:GetEncryptionConfiguration"),
    ],
)
def test_denied_access_names_the_action_that_the_role_needs(
    call: str, action: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = client("s3", REGION)

    def denied(**_: str) -> None:
        response = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
        raise s3.exceptions.ClientError(response, call)

    monkeypatch.setattr(s3, call, denied)
    with pytest.raises(AwsError, match=re.escape(f"s3://{bucket} ({action}) failed: AccessDenied")):
        require_in_region(in_s3(bucket), REGION)


def test_each_bucket_is_inspected_once(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "werkzeug")
    locations = [Location.parse(f"s3://{bucket}/{name}") for name in ("in", "out", "w.h5")]
    assert len(require_in_region(locations, REGION)) == 1
    assert sum(f"GET /{bucket}?location" in message for message in caplog.messages) == 1


def test_local_folders_need_no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_aws(*_: str) -> None:
        raise AssertionError("AWS was asked about a local folder")

    monkeypatch.setattr("spark_src.io.residency.client", no_aws)
    assert require_in_region([Location.parse("/data"), Location.parse("file:///w")], REGION) == []
