"""Maps HTTP requests to S3, EMR and SQS to IAM actions, following AWS's authorization reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

from tests.infra.policies import Request

REGION, ACCOUNT = "eu-west-1", "123456789012"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/da7a0000-0000-0000-0000-000000000000"

_ALWAYS = {
    "aws:PrincipalAccount": ACCOUNT,
    "aws:PrincipalIsAWSService": "false",
    "aws:RequestedRegion": REGION,
    "aws:SecureTransport": "true",  # the real S3 is called over TLS: see the clients' endpoints
    "s3:TlsVersion": "1.3",
}

_OF_BUCKETS = {
    "versions": "s3:ListBucketVersions",
    "uploads": "s3:ListBucketMultipartUploads",
    "location": "s3:GetBucketLocation",
    "publicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "encryption": "s3:GetEncryptionConfiguration",
    "versioning": "s3:GetBucketVersioning",
    "policyStatus": "s3:GetBucketPolicyStatus",
}

_ENCRYPTION = "x-amz-server-side-encryption"
_HEADERS = {
    name: f"s3:{name}"
    for name in (
        "if-none-match",
        _ENCRYPTION,
        f"{_ENCRYPTION}-aws-kms-key-id",
        f"{_ENCRYPTION}-customer-algorithm",
    )
}


@dataclass(frozen=True)
class Http:
    """An HTTP request; header names are lowercase."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def access_key(self) -> str:
        """The access key that signed the request; empty if unsigned."""
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        return found[1] if found else ""


def needed(http: Http, tags: Mapping[str, str]) -> list[Request]:
    """The IAM requests that the HTTP request needs.

    Args:
        http: the request.
        tags: the tags of the cluster in the request.
    """
    target = http.headers.get("x-amz-target", "")
    if target.startswith("ElasticMapReduce."):
        return list(_emr(target.split(".")[1], json.loads(http.body or b"{}"), tags))
    if target.startswith("AmazonSQS."):
        queue = json.loads(http.body)["QueueUrl"].rsplit("/", 1)[1]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
        # A batch needs the permission for one message: there is no other.
        action = target.split(".")[1].removesuffix("Batch")
        return [Request(f"sqs:{action}", arn, _ALWAYS)]
    return list(_s3(http))


def not_found(bucket: str) -> Request:
    """The request that S3 authorises before it returns "not found" instead of "access denied"."""
    return Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", _ALWAYS)


def _s3(http: Http) -> Iterator[Request]:
    bucket, _, key = unquote(http.path.lstrip("/")).partition("/")
    query = parse_qs(http.query, keep_blank_values=True)
    of_bucket = f"arn:aws:s3:::{bucket}"
    if key:
        yield from _object(http, f"{of_bucket}/{key}", query)
    elif http.method == "POST" and "delete" in query:
        for entry in re.findall(r"<Object>(.*?)</Object>", http.body.decode(), re.DOTALL):
            name = re.search(r"<Key>(.*?)</Key>", entry, re.DOTALL)
            action = "s3:DeleteObjectVersion" if "<VersionId>" in entry else "s3:DeleteObject"
            yield Request(action, f"{of_bucket}/{name[1] if name else ''}", _ALWAYS)
    elif http.method in ("GET", "HEAD"):
        action = next((a for part, a in _OF_BUCKETS.items() if part in query), "s3:ListBucket")
        prefix = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        yield Request(action, of_bucket, {**_ALWAYS, **prefix})
    else:
        yield Request(f"s3:unknown {http.method} {http.query}", of_bucket, _ALWAYS)


def _object(http: Http, arn: str, query: Mapping[str, list[str]]) -> Iterator[Request]:
    said = {key: http.headers[name] for name, key in _HEADERS.items() if name in http.headers}
    context = {**_ALWAYS, **said}
    version = "Version" if "versionId" in query else ""
    if http.method in ("GET", "HEAD"):
        if "uploadId" in query:
            yield Request("s3:ListMultipartUploadParts", arn, context)
            return
        yield Request(f"s3:GetObject{version}", arn, context)
        yield Request("kms:Decrypt", KEY, _ALWAYS)
    elif http.method == "DELETE":
        one = "s3:AbortMultipartUpload" if "uploadId" in query else f"s3:DeleteObject{version}"
        yield Request(one, arn, context)
    elif http.method in ("PUT", "POST"):
        yield Request("s3:PutObject", arn, context)
        yield Request("kms:GenerateDataKey", KEY, _ALWAYS)
        if "uploadId" in query or "uploads" in query:
            yield Request("kms:Decrypt", KEY, _ALWAYS)
        if source := http.headers.get("x-amz-copy-source"):
            yield Request("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}", _ALWAYS)


def _emr(operation: str, body: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Request]:
    action = f"elasticmapreduce:{operation}"
    clusters = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/"
    if operation == "ListClusters":
        yield Request(action, "*", _ALWAYS)
        return
    if operation != "RunJobFlow":
        ids = body.get("ClusterId") or body.get("JobFlowId") or body.get("JobFlowIds")
        of_cluster = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
        for one in ids if isinstance(ids, list) else [ids]:
            yield Request(action, f"{clusters}{one}", {**_ALWAYS, **of_cluster})
        return
    asked = {str(t["Key"]): str(t["Value"]) for t in body.get("Tags", [])}  # type: ignore[attr-defined]
    requested = {f"aws:RequestTag/{key}": value for key, value in asked.items()}
    # RunJobFlow has no resource type: a statement for cluster/* does not apply to it.
    yield Request(action, "*", {**_ALWAYS, **requested})
    yield Request("elasticmapreduce:AddTags", f"{clusters}*", {**_ALWAYS, **requested})
    # AWS does not document whether a cluster that is being created has its tags: assume it has not.
    for policy in ("AutoTerminationPolicy", "ManagedScalingPolicy"):
        if policy in body:
            yield Request(f"elasticmapreduce:Put{policy}", f"{clusters}*", _ALWAYS)
    nodes = str(body["JobFlowRole"]).rsplit("/", 1)[-1]
    for role, service in ((body["ServiceRole"], "elasticmapreduce"), (nodes, "ec2")):
        arn = str(role) if ":" in str(role) else f"arn:aws:iam::{ACCOUNT}:role/{role}"
        passed = {**_ALWAYS, "iam:PassedToService": f"{service}.amazonaws.com"}
        yield Request("iam:PassRole", arn, passed)
