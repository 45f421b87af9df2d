"""What all talk with AWS shares: clients with retries, and its errors with their remedies."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pyarrow import fs

from spark_src.errors import AwsError, SettingsError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from spark_src.io.locations import Location

# boto3 and Spark take a second each to import, and `fruits path` on a disk needs neither: who
# talks with AWS imports them, and an error of theirs can only come where they are loaded.

_REMEDIES = {
    "NoSuchBucket": "There is no such bucket: correct the URI, or make it with `terraform apply`.",
    "404": "There is no such bucket or key: correct the URI.",
    "403": "Access is denied: the role of these credentials needs this action on this prefix.",
    "AccessDenied": "The role of these credentials needs this action on this prefix "
    "(infra/ lists what each role may do).",
    "AccessDeniedException": "The role of these credentials needs this action "
    "(infra/ lists what each role may do).",
    "ExpiredToken": "The credentials have expired: sign in again (`aws sso login`) and start the "
    "run again; what was finished stays.",
    "ExpiredTokenException": "The credentials have expired: sign in again (`aws sso login`) and "
    "start the run again; what was finished stays.",
    "InvalidAccessKeyId": "The access key is unknown: sign in again (`aws sso login`).",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key: sign in again.",
    "PermanentRedirect": "The bucket is in another region: set FRUITS_REGION to the bucket's.",
    "301": "The bucket is in another region: set FRUITS_REGION to the bucket's.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set FRUITS_REGION to it.",
    "400": "S3 does not say more; most often the credentials have expired: sign in again "
    "(`aws sso login`) and start the run again; what was finished stays.",
    "NetworkConnection": "Is there a network?",
    "InternalFailure": "S3 failed, also after several tries: start the run again later.",
    "SlowDown": "AWS asks to slow down, also after several tries: start the run again later.",
    "ThrottlingException": "AWS asks to slow down, also after several tries: start it again later.",
}

_CODES = (
    r"ExceptionName: (\w+)",  # pyarrow, of a code that its AWS library does not know
    r"UNKNOWN \(HTTP status (\d+)\)",
    r"AWS Error ([A-Z_]+)",
    r"Error Code: (\d+) ",  # S3A, where the answer had no body
    r"Error Code: (\w+)",
    r"<Code>(\w+)</Code>",  # delta-rs, which shows the answer as it came
    r"non-2xx status code\s+↳ (\d+) ",  # delta-rs, where the answer had no body
)
"""Where pyarrow, S3A and delta-rs have AWS's code in what they say."""

_COLOURS = re.compile(r"\x1b\[\d+m")

_LOST, _LOST_CODE = "error sending request", "NetworkConnection"
"""What delta-rs says where it got no answer, and what pyarrow calls that."""

_SIGNS = {
    _LOST: _LOST_CODE,
    "error decoding response body": _LOST_CODE,
    "redirect without LOCATION": "PermanentRedirect",
}
"""What delta-rs says where S3 sent no code."""

_SHORT = "Failed to flush response stream"
"""What pyarrow says of an error whose text is longer than the file: see `padded.py`."""

_ATTEMPTS = 8  # of boto3, for each call
_TRIES, _FIRST_PAUSE_SECONDS = 6, 0.2

T = TypeVar("T")

_DELTA_RETRIES = {"max_retries": "7", "backoff_config.init_backoff": "500ms"}
"""As many tries as the others have, at a like pace. It does not repeat a commit or a delete whose
answer was lost; those are repeated where they are made."""


def use_region(region: str) -> None:
    """Make it the region of this process and its children: boto3, pyarrow and Spark's workers."""
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


def client(service: str, region: str | None = None) -> Any:
    """A boto3 client: retries with back-off, short time to connect.

    Another endpoint than AWS's comes by boto3's own variables (`AWS_ENDPOINT_URL`).

    Args:
        service: `s3`, `emr`, …
        region: the process's own at the time of the call (see `use_region`) by default.
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
    """pyarrow's S3: the region of `use_region`, boto3's variables for another endpoint."""
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
    """What delta-rs needs to reach a location: boto3's credentials, so that SSO works there too."""
    if location.scheme != "s3":
        return {}
    import boto3
    from botocore.exceptions import NoCredentialsError

    options = {"aws_conditional_put": "etag", "aws_region": configured_region()}
    options |= _DELTA_RETRIES
    if found := endpoint():
        options |= {"aws_endpoint": found, "aws_allow_http": "true"}
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise NoCredentialsError
    frozen = credentials.get_frozen_credentials()
    options |= {
        "aws_access_key_id": frozen.access_key or "",
        "aws_secret_access_key": frozen.secret_key or "",
    }
    return options | ({"aws_session_token": frozen.token} if frozen.token else {})


def endpoint() -> str | None:
    """The URL of an S3 that is not AWS's, or None."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def reset_clients() -> None:
    """Let the next call make clients anew: for tests that change endpoint or region."""
    _client.cache_clear()
    _s3_files.cache_clear()


def error_code(error: ClientError) -> str:
    """AWS's short code of what went wrong, e.g. `NoSuchBucket`."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def repeat(attempt: Callable[[], T]) -> T:
    """Try again what libraries do not: delta-rs's commit or delete that got no answer, and
    pyarrow's read of a tiny file.

    Args:
        attempt: has to find what an earlier try did whose answer was lost.
    """
    for number in range(_TRIES):
        try:
            return attempt()
        except OSError as error:
            unanswered = _LOST in str(error) and " retries" not in str(error)
            if not (unanswered or _SHORT in str(error)) or number == _TRIES - 1:
                raise
        time.sleep(_FIRST_PAUSE_SECONDS * 2**number)
    raise AssertionError


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Turn errors of boto3, pyarrow, delta-rs and Spark's S3A into one sentence with the remedy.

    Args:
        doing: what was being done and on what, e.g. `reading s3://bucket/key`.

    Raises:
        AwsError: the call failed.
    """
    try:
        yield
    except Exception as error:
        found = _of_boto3(doing, error) or _of_other_libraries(doing, error)
        if found is None:
            raise  # nothing of AWS's
        raise found from error


def _of_boto3(doing: str, error: Exception) -> AwsError | None:
    if "botocore.exceptions" not in sys.modules:
        return None
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _refused(
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


def _of_other_libraries(doing: str, error: Exception) -> AwsError | None:
    """Of pyarrow, delta-rs and Spark's S3A, which have AWS's code in their texts."""
    if not (isinstance(error, OSError) or _is_of_spark(error)):
        return None
    text = _COLOURS.sub("", str(error))
    found = code_in(text)
    return None if found is None else _refused(doing, found, _said(text, found))


def _is_of_spark(error: Exception) -> bool:
    if "py4j.protocol" not in sys.modules or "pyspark.errors" not in sys.modules:
        return False
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    return isinstance(error, Py4JJavaError | PySparkException)


def _refused(doing: str, code: str, said: str) -> AwsError:
    remedy = _REMEDIES.get(code, "See AWS's documentation of that code.")
    return AwsError(f"{doing} failed: {code} ({said}). {remedy}", code)


def _said(text: str, code: str) -> str:
    """What S3 said of a code, or the line of the library's error that has it."""
    if message := re.search(r"<Message>([^<]+)</Message>", text):
        return message[1]
    lines = [line.strip(" ↳") for line in text.splitlines() if line.strip()]
    if code == _LOST_CODE and _LOST in text:
        return lines[-1]
    return next((line for line in lines if code in (line, code_in(line))), "")


def code_in(text: str) -> str | None:
    """AWS's code in the text of another library's error, spelled as AWS does."""
    found = next((match[1] for pattern in _CODES if (match := re.search(pattern, text))), None)
    if found is None:
        return next((code for sign, code in _SIGNS.items() if sign in text), None)
    if not found.isupper():
        return found
    return "".join(word.capitalize() for word in found.split("_"))
