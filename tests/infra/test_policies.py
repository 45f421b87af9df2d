"""Policy evaluation follows AWS's documentation, and HTTP requests need the documented actions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.aws_requests import Http, needed
from tests.infra.policies import Request, UnknownConditionError, decide

OBJECT = "arn:aws:s3:::bucket/data/x"
GET = Request("s3:GetObject", OBJECT, {"aws:PrincipalAccount": "1"})


def statement(effect: str = "Allow", **fields: Any) -> dict[str, Any]:
    return {"Sid": "X", "Effect": effect, "Action": "s3:GetObject", "Resource": OBJECT} | fields


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, True),
        ({"Action": "s3:Get*"}, True),
        ({"Action": ["s3:PutObject"]}, False),
        ({"Action": "S3:getobject"}, True),
        ({"Resource": "arn:aws:s3:::bucket/data/*"}, True),
        ({"Resource": "arn:aws:s3:::bucket/data"}, False),
        ({"Resource": "arn:aws:s3:::bucket/data/?"}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalAccount": "1"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalAccount": "2"}}}, False),
        ({"Condition": {"StringEquals": {"s3:prefix": "a"}}}, False),
        ({"Condition": {"StringLikeIfExists": {"s3:prefix": "a"}}}, True),
        ({"Condition": {"StringNotEquals": {"s3:prefix": "a"}}}, True),
        ({"Condition": {"Null": {"s3:prefix": "true"}}}, True),
        ({"Condition": {"Null": {"aws:PrincipalAccount": "true"}}}, False),
    ],
)
def test_a_statement_allows_matching_requests(fields: dict[str, Any], allowed: bool) -> None:
    assert decide(GET, [statement(**fields)], {}).allowed is allowed


def test_a_deny_in_any_policy_takes_precedence() -> None:
    assert not decide(GET, [statement(), statement("Deny")], {}).allowed
    assert not decide(GET, [statement()], {"bucket": [statement("Deny")]}).allowed


def test_an_endpoint_has_to_allow_and_a_bucket_does_not() -> None:
    assert decide(GET, [statement()], {"bucket": []}).allowed
    assert not decide(GET, [statement()], {"endpoint": []}).allowed
    assert decide(GET, [statement()], {"endpoint": [statement()]}).allowed


def test_an_unsupported_condition_is_an_error() -> None:
    unknown = statement(Condition={"IpAddress": {"aws:PrincipalAccount": "1"}})
    with pytest.raises(UnknownConditionError):
        decide(GET, [unknown], {})


@pytest.mark.parametrize(
    ("method", "target", "actions"),
    [
        ("GET", "/b/k", ["s3:GetObject", "kms:Decrypt"]),
        ("HEAD", "/b/k", ["s3:GetObject", "kms:Decrypt"]),
        ("GET", "/b/k?versionId=1", ["s3:GetObjectVersion", "kms:Decrypt"]),
        ("PUT", "/b/k", ["s3:PutObject", "kms:GenerateDataKey"]),
        ("POST", "/b/k?uploads", ["s3:PutObject", "kms:GenerateDataKey", "kms:Decrypt"]),
        ("DELETE", "/b/k?uploadId=1", ["s3:AbortMultipartUpload"]),
        ("DELETE", "/b/k?versionId=1", ["s3:DeleteObjectVersion"]),
        ("DELETE", "/b/k", ["s3:DeleteObject"]),
        ("GET", "/b?list-type=2&prefix=x", ["s3:ListBucket"]),
        ("GET", "/b?versions", ["s3:ListBucketVersions"]),
        ("GET", "/b?uploads", ["s3:ListBucketMultipartUploads"]),
        ("HEAD", "/b", ["s3:ListBucket"]),
        ("PUT", "/b?policy", ["s3:unknown PUT policy"]),
    ],
)
def test_a_request_needs_its_actions(method: str, target: str, actions: list[str]) -> None:
    path, _, query = target.partition("?")
    http = Http(method, path, query, {}, b"")
    assert [request.action for request in needed(http, {})] == actions


def test_only_a_listing_with_a_prefix_has_one_in_its_context() -> None:
    named, unnamed = (
        needed(Http("GET", "/b", query, {}, b""), {})[0].context.get("s3:prefix")
        for query in ("list-type=2&prefix=input%2F", "list-type=2")
    )
    assert (named, unnamed) == ("input/", None)
