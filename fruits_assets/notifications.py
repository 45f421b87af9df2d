"""S3 event notifications of the input from an SQS queue, which make most listings unnecessary."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spark_src.contract import EU_REGIONS
from spark_src.errors import AwsError, SettingsError
from spark_src.io.aws import aws_errors, client

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import DeleteMessageBatchRequestEntryTypeDef, MessageTypeDef

RECEIVES = 100
"""Maximum receive calls per `drain`."""

BATCH = 10
"""Messages per call, the maximum of SQS."""

WAIT_SECONDS = 1
"""Long polling: how long a call waits. With short polling, SQS queries only some servers."""

DRAIN_SECONDS = 20.0
"""`drain` starts no call after this time, because the same evaluation may have to list."""

_TEST_EVENT = "s3:TestEvent"
"""The message that S3 sends once when notifications are configured."""

_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

_QUEUE_URL = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com/\d{12}/[\w-]{1,80}", re.ASCII)


@dataclass(frozen=True)
class Notices:
    """The result of one `drain`. Names of pictures are not kept, as they may identify a person."""

    events: int = 0
    """Number of created or deleted objects. Never too low; S3 and SQS deliver at least once, so
    some may be counted twice."""
    handles: tuple[str, ...] = field(default=(), repr=False)
    """Receipt handles for deleting the messages."""


class InputQueue:
    """The queue to which S3 reports created and deleted objects of the input.

    Messages stay until they are acknowledged. Acknowledge notices only after acting on them: after
    a crash they are delivered again, so the input is listed once too often rather than missed.
    """

    def __init__(self, url: str, region: str) -> None:
        """Validate the URL, without calling AWS.

        Args:
            url: the queue's URL, i.e. the Terraform output `input_queue_url`.
            region: the configured region.

        Raises:
            SettingsError: it is not the URL of a queue in that region.
        """
        _require_in_region(url, region)
        self._url = url
        self._region = region

    def drain(self, limit: int = RECEIVES) -> Notices:
        """Receive the available messages, and delete only S3's test messages.

        At most `limit` calls of ten messages each; the rest is left for the next time.

        Raises:
            AwsError: the queue does not exist, or the role may not read it.
        """
        received: dict[str, tuple[str, int]] = {}
        for message in self._messages(limit):
            # A message delivered twice counts once, and only its last handle deletes it.
            received[message["MessageId"]] = message["ReceiptHandle"], _events(message["Body"])
        self._delete([handle for handle, events in received.values() if not events])
        found = {handle: events for handle, events in received.values() if events}
        return Notices(sum(found.values()), tuple(found))

    def acknowledge(self, notices: Notices) -> None:
        """Delete the messages of these notices, after a run was requested.

        Raises:
            AwsError: some could not be deleted after a second try; they are delivered again.
        """
        self._delete(notices.handles)

    def _messages(self, limit: int) -> Iterator[MessageTypeDef]:
        """Messages until none are left, or `limit` or the time limit is reached."""
        end = time.monotonic() + DRAIN_SECONDS
        for _ in range(limit):
            messages = self._receive()
            yield from messages
            if not messages or time.monotonic() >= end:
                return

    def _receive(self) -> list[MessageTypeDef]:
        with self._queue_errors("Receiving messages from"):
            answer = client("sqs", self._region).receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
            )
        return answer.get("Messages") or []

    def _delete(self, handles: Sequence[str]) -> None:
        """Delete messages, and retry failed ones once."""
        failed = self._delete_once(handles)
        failed = self._delete_once(list(failed))
        if failed:
            codes = ", ".join(sorted(set(failed.values())))
            raise AwsError(
                f"Deleting {len(failed)} of {len(handles)} messages from {self._url} failed twice: "
                f"{codes}. Nothing is lost: they are delivered again, and the input is listed once "
                "more. If it persists, look up the error code in the SQS documentation.",
                next(iter(failed.values())),
            )

    def _delete_once(self, handles: Sequence[str]) -> dict[str, str]:
        """Delete messages, ten per call; return the handles that failed with SQS's error code."""
        failed: dict[str, str] = {}
        for start in range(0, len(handles), BATCH):
            batch = handles[start : start + BATCH]
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(batch)
            ]
            with self._queue_errors("Deleting messages from"):
                answer = client("sqs", self._region).delete_message_batch(
                    QueueUrl=self._url, Entries=entries
                )
            errors = answer.get("Failed") or []
            failed |= {batch[int(error["Id"])]: str(error["Code"]) for error in errors}
        return failed

    @contextmanager
    def _queue_errors(self, activity: str) -> Iterator[None]:
        try:
            with aws_errors(f"{activity} {self._url}"):
                yield
        except AwsError as error:
            if error.code not in _NO_QUEUE:
                raise
            raise AwsError(
                f"{activity} {self._url} failed: there is no such queue. Set FRUITS_INPUT_QUEUE to "
                "the one that `make -s env` prints, or unset it: the input is then listed at "
                "each evaluation.",
                error.code,
            ) from error


def _events(body: str) -> int:
    """Number of events in a message: none for S3's test message, one for an unknown format.

    An unnecessary listing is harmless, and S3's format may change.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return 1
    if not isinstance(found, dict):
        return 1
    if found.get("Event") == _TEST_EVENT:
        return 0
    records = found.get("Records")
    return max(1, len(records)) if isinstance(records, list) else 1


def _require_in_region(url: str, region: str) -> None:
    """Require the URL of a queue in that region, or of the configured AWS test endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and url.startswith(f"{endpoint.rstrip('/')}/"):
        return
    found = _QUEUE_URL.fullmatch(url)
    if found is None:
        raise SettingsError(
            f"The queue {url!r} is not an SQS URL. Use "
            "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, as printed by `make -s env`, or unset "
            "FRUITS_INPUT_QUEUE if there is no queue."
        )
    if found[1] not in EU_REGIONS:
        raise SettingsError(
            f"The queue {url} is in {found[1]}, but names of pictures must stay in the EU. Use "
            f"the queue that `terraform apply` creates in one of {', '.join(EU_REGIONS)}."
        )
    if found[1] != region:
        raise SettingsError(
            f"The queue {url} is in {found[1]}, not in the configured {region}. S3 only notifies "
            "queues in the bucket's region. Use the queue that `make -s env` prints, or set "
            "FRUITS_REGION to the bucket's region."
        )
