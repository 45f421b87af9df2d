"""Checks whether S3 buckets may hold the data: region, public access, encryption. Read-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spark_src.errors import ResidencyError
from spark_src.io.aws import aws_errors, client, configured_region, error_code
from spark_src.io.locations import Location

_LEGACY_NAMES = {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}
"""Legacy values of `GetBucketLocation`."""

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

_BLOCK_COMMAND = (
    "aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration "
    + ",".join(f"{name}=true" for name in _BLOCKS)
)
_ENCRYPT_COMMAND = (
    "aws s3api put-bucket-encryption --bucket {bucket} --server-side-encryption-configuration "
    """'{{"Rules":[{{"ApplyServerSideEncryptionByDefault":{{"SSEAlgorithm":"AES256"}}}}]}}'"""
)


@dataclass(frozen=True)
class Finding:
    """Properties of one bucket: `region` is its region, `configured` the required one."""

    bucket: str
    region: str
    configured: str
    public_access_blocked: bool
    encryption: str | None
    """The default encryption algorithm (`AES256`, `aws:kms`); None if there is none."""

    @property
    def ok(self) -> bool:
        """Whether the bucket may hold the data."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """Reasons why the bucket may not hold the data, each with its remedy."""
        name, region = f"s3://{self.bucket}", self.configured
        if self.region != region:
            # Other faults are left out: fixing them would not make the bucket usable.
            return [
                f"{name} is in {self.region}, not in the configured {region}. Use a bucket in "
                f"{region} (`terraform apply` creates such buckets), or set FRUITS_REGION to the "
                "bucket's region if that is in the EU."
            ]
        faults = []
        if not self.public_access_blocked:
            faults.append(
                f"{name} in {region} does not block all public access. Use a bucket that "
                f"`terraform apply` created, or run `{_BLOCK_COMMAND.format(bucket=self.bucket)}`."
            )
        if not self.encryption:
            faults.append(
                f"{name} in {region} has no default encryption. Use a bucket that `terraform "
                f"apply` created, or run `{_ENCRYPT_COMMAND.format(bucket=self.bucket)}`."
            )
        return faults


def inspect_bucket(bucket: str, region: str) -> Finding:
    """Query a bucket's properties; `region` is the configured one. Reads no data.

    Raises:
        AwsError: the bucket does not exist, or credentials or permissions are missing.
    """
    answer = _query(bucket, "s3:GetBucketLocation", client("s3", region).get_bucket_location)
    found = answer.get("LocationConstraint")
    real = str(_LEGACY_NAMES.get(found, found))
    s3 = client("s3", real)
    blocks = _query(
        bucket,
        "s3:GetBucketPublicAccessBlock",
        s3.get_public_access_block,
        "NoSuchPublicAccessBlockConfiguration",
    ).get("PublicAccessBlockConfiguration", {})
    encryption = _query(
        bucket,
        "s3:GetEncryptionConfiguration",
        s3.get_bucket_encryption,
        "ServerSideEncryptionConfigurationNotFoundError",
    ).get("ServerSideEncryptionConfiguration", {})
    return Finding(
        bucket,
        region=real,
        configured=region,
        public_access_blocked=all(blocks.get(name) for name in _BLOCKS),
        encryption=_algorithm(encryption.get("Rules", [])),
    )


def inspect_buckets(locations: Sequence[Location], region: str | None = None) -> list[Finding]:
    """Inspect every bucket of these locations; local ones are skipped.

    Args:
        locations: folders or files.
        region: where the buckets have to be; by default the process's region.

    Raises:
        AwsError: a bucket could not be inspected.
    """
    paths = [location.path for location in locations if location.scheme == "s3"]
    buckets = dict.fromkeys(path.split("/", 1)[0] for path in paths)
    return [inspect_bucket(bucket, region or configured_region()) for bucket in buckets]


def require_in_region(locations: Sequence[Location], region: str | None = None) -> list[Finding]:
    """Require that every bucket of these locations may hold the data. Call it before any read.

    Args:
        locations: folders or files.
        region: where their buckets have to be; by default the process's region.

    Raises:
        ResidencyError: a bucket is elsewhere, open to the public or not encrypted.
        AwsError: a bucket could not be inspected.
    """
    findings = inspect_buckets(locations, region)
    faults = [fault for finding in findings for fault in finding.faults]
    if faults:
        raise ResidencyError(" ".join(faults))
    return findings


def _query(
    bucket: str, action: str, call: Callable[..., Mapping[str, Any]], absent: str | None = None
) -> Mapping[str, Any]:
    """Call S3; return an empty result for the error code `absent` (nothing is configured)."""
    from botocore.exceptions import ClientError

    with aws_errors(f"Inspecting s3://{bucket} ({action})"):
        try:
            return call(Bucket=bucket)
        except ClientError as error:
            if error_code(error) != absent:
                raise
            return {}


def _algorithm(rules: Sequence[dict[str, Any]]) -> str | None:
    defaults = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
    algorithms = [default["SSEAlgorithm"] for default in defaults if "SSEAlgorithm" in default]
    return next(iter(algorithms), None)
