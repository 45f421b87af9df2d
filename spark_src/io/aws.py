"""AWS clients with retries, and error messages with remedies."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, overload

from pyarrow import fs

from spark_src.errors import AwsError, SettingsError
from spark_src.io.retries import NO_RESPONSE

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
    from mypy_boto3_emr import EMRClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from spark_src.io.locations import Location

# boto3 and Spark take a second each to import, and `fruits path` on a disk needs neither.
# They are imported on first use, and their error types are only checked if they are loaded.

_REMEDIES = {
    "NoSuchBucket": "There is no such bucket: correct the URI, or create it (`terraform apply`).",
    "404": "There is no such bucket or key: correct the URI.",
    "403": "Access is denied: the role of these credentials needs this action on this prefix.",
    "AccessDenied": "The role of these credentials needs this action on this prefix "
    "(infra/ lists what each role may do).",
    "AccessDeniedException": "The role of these credentials needs this action "
    "(infra/ lists what each role may do).",
    "ExpiredToken": "The credentials have expired: sign in again (`aws sso login`) and start the "
    "run again; finished work is kept.",
    "ExpiredTokenException": "The credentials have expired: sign in again (`aws sso login`) and "
    "start the run again; finished work is kept.",
    "InvalidAccessKeyId": "The access key is unknown: sign in again (`aws sso login`).",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key: sign in again.",
    "PermanentRedirect": "The bucket is in another region: set FRUITS_REGION to the bucket's.",
    "301": "The bucket is in another region: set FRUITS_REGION to the bucket's.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set FRUITS_REGION to it.",
    "400": "S3 gives no details; most often the credentials have expired: sign in again "
    "(`aws sso login`) and start the run again; finished work is kept.",
    "NetworkConnection": "Is there a network?",
    "InternalFailure": "S3 failed several times: start the run again later.",
    "SlowDown": "AWS throttled the requests several times: start the run again later.",
    "ThrottlingException": "AWS throttled the requests several times: start it again later.",
}

_CODES = (
    r"ExceptionName: (\w+)",  # pyarrow, for codes unknown to its AWS library
    r"UNKNOWN \(HTTP status (\d+)\)",
    r"AWS Error ([A-Z_]+)",
    r"Error Code: (\d+) ",  # S3A, if the response had no body
    r"Error Code: (\w+)",
    r"<Code>(\w+)</Code>",  # delta-rs, with the response body
    r"non-2xx status code\s+↳ (\d+) ",  # delta-rs, if the response had no body
)
"""Patterns of the AWS error code in messages of pyarrow, S3A and delta-rs."""

_COLOURS = re.compile(r"\x1b\[\d+m")

_LOST_CODE = "NetworkConnection"
"""pyarrow's code if there was no response."""

_SIGNS = {
    NO_RESPONSE: _LOST_CODE,
    "error decoding response body": _LOST_CODE,
    "redirect without LOCATION": "PermanentRedirect",
}
"""delta-rs's messages without a code from S3."""

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
"""Environment variables with or about credentials."""

_renewing: dict[tuple[str | None, ...], Credentials] = {}
"""Credentials that renew themselves, by the values of those variables."""

_ATTEMPTS = 8  # of boto3, for each call

_DELTA_RETRIES = {"max_retries": "7", "backoff_config.init_backoff": "500ms"}
"""As many retries as in the other libraries. delta-rs does not retry a commit or a delete whose
response was lost: see `retries.py`."""


def use_region(region: str) -> None:
    """Set the region of this process and its children: boto3, pyarrow and Spark's workers."""
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region


def configured_region() -> str:
    """The region of this process, as `use_region` set it.

    Raises:
        SettingsError: none was set.
    """
    region = os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise SettingsError(
            "No AWS region is configured in this process: commands and runs take it from "
            "FRUITS_REGION, a step on the cluster from its arguments. Set FRUITS_REGION, and start "
            "it with one of the project's commands; in a notebook set AWS_DEFAULT_REGION."
        )
    return region


@overload
def client(service: Literal["s3"], region: str | None = None) -> S3Client: ...
@overload
def client(service: Literal["emr"], region: str | None = None) -> EMRClient: ...
@overload
def client(service: Literal["sqs"], region: str | None = None) -> SQSClient: ...


def client(service: str, region: str | None = None) -> Any:
    """A boto3 client with retries and a short connect timeout.

    boto3's variables (`AWS_ENDPOINT_URL`) set a custom endpoint.

    Args:
        service: `s3`, `emr` or `sqs`.
        region: by default the process's region at the time of the call (see `use_region`).
    """
    return _client(service, region or configured_region())


@cache
def _client(service: str, region: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
    )
    return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]


def s3_files() -> fs.S3FileSystem:
    """pyarrow's S3 file system, with the region of `use_region` and boto3's custom endpoint."""
    return _s3_files(configured_region())


@cache
def _s3_files(region: str) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint(),
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=8),
        connect_timeout=5,
        request_timeout=60,
    )


def delta_options(location: Location) -> dict[str, str]:
    """delta-rs's storage options for a location, using boto3's credentials, which include SSO."""
    if location.scheme != "s3":
        return {}
    options = {"aws_conditional_put": "etag", "aws_region": configured_region()}
    options |= _DELTA_RETRIES
    if found := endpoint():
        options |= {"aws_endpoint": found, "aws_allow_http": "true"}
    frozen = _credentials().get_frozen_credentials()
    options |= {
        "aws_access_key_id": frozen.access_key or "",
        "aws_secret_access_key": frozen.secret_key or "",
    }
    return options | ({"aws_session_token": frozen.token} if frozen.token else {})


def _credentials() -> Credentials:
    """boto3's current credentials.

    Those that renew themselves are kept: reading them starts a command (`credential_process`) or
    asks the instance. Others are read again, because another program may have replaced them.
    """
    variables = tuple(map(os.environ.get, _CREDENTIALS))
    if variables in _renewing:
        return _renewing[variables]
    import boto3
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import NoCredentialsError

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise NoCredentialsError
    if isinstance(credentials, RefreshableCredentials):
        _renewing[variables] = credentials
    return credentials


def endpoint() -> str | None:
    """The URL of a custom S3 endpoint, or None."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def reset_clients() -> None:
    """Discard cached clients, for tests that change endpoint or region."""
    _client.cache_clear()
    _s3_files.cache_clear()
    _renewing.clear()


def error_code(error: ClientError) -> str:
    """AWS's error code, e.g. `NoSuchBucket`."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Turn errors of boto3, pyarrow, delta-rs and Spark's S3A into `AwsError` with a remedy.

    Args:
        doing: the operation, e.g. `reading s3://bucket/key`.

    Raises:
        AwsError: the call failed.
    """
    try:
        yield
    except Exception as error:
        found = _from_boto3(doing, error) or _from_other_libraries(doing, error)
        if found is None:
            raise  # not an AWS error
        raise found from error


def _from_boto3(doing: str, error: Exception) -> AwsError | None:
    if "botocore.exceptions" not in sys.modules:
        return None
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _aws_error(
            doing, error_code(error), error.response.get("Error", {}).get("Message", "")
        )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return AwsError(
            f"{doing} failed: there are no AWS credentials. Sign in (`aws sso login`), or set "
            "AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            "NoCredentials",
        )
    if isinstance(error, boto.EndpointConnectionError):
        return AwsError(f"{doing} failed: {error}. Is there a network?", "NoNetwork")
    if isinstance(error, boto.BotoCoreError):
        return AwsError(f"{doing} failed: {error}.", type(error).__name__)
    return None


def _from_other_libraries(doing: str, error: Exception) -> AwsError | None:
    """Errors of pyarrow, delta-rs and Spark's S3A, whose messages contain AWS's code."""
    if not (isinstance(error, OSError) or _is_spark_error(error)):
        return None
    text = _COLOURS.sub("", str(error))
    found = code_in(text)
    return None if found is None else _aws_error(doing, found, _message_for(text, found))


def _is_spark_error(error: Exception) -> bool:
    if "py4j.protocol" not in sys.modules or "pyspark.errors" not in sys.modules:
        return False
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    return isinstance(error, Py4JJavaError | PySparkException)


def _aws_error(doing: str, code: str, message: str) -> AwsError:
    remedy = _REMEDIES.get(code, "See the AWS documentation of this code.")
    return AwsError(f"{doing} failed: {code} ({message}). {remedy}", code)


def _message_for(text: str, code: str) -> str:
    """S3's message for a code, or the line of the library's error that contains the code."""
    if message := re.search(r"<Message>([^<]+)</Message>", text):
        return message[1]
    lines = [line.strip(" ↳") for line in text.splitlines() if line.strip()]
    if code == _LOST_CODE and NO_RESPONSE in text:
        return lines[-1]
    return next((line for line in lines if code in (line, code_in(line))), "")


def code_in(text: str) -> str | None:
    """AWS's error code in another library's error message, in AWS's spelling."""
    found = next((match[1] for pattern in _CODES if (match := re.search(pattern, text))), None)
    if found is None:
        return next((code for sign, code in _SIGNS.items() if sign in text), None)
    if not found.isupper():
        return found
    return "".join(word.capitalize() for word in found.split("_"))
