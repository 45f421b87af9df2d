"""S3's notifications about the input, from an SQS queue: without one nothing has to be listed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from spark_src.contract import EU_REGIONS
from spark_src.errors import AwsError, SettingsError
from spark_src.io.aws import aws_errors, client

RECEIVES = 100
"""Calls in which one `drain` receives messages."""

BATCH = 10
"""Messages of one call: SQS allows no more."""

WAIT_SECONDS = 1
"""How long a call waits for messages. Without a wait SQS asks some of its servers only."""

DRAIN_SECONDS = 20.0
"""After so long `drain` begins no further call: the listing has to fit into the same evaluation."""

_TEST_EVENT = "s3:TestEvent"
"""What S3 sends once, to see whether it may, when notifications are configured."""

_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

_QUEUE_URL = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com/\d{12}/[\w-]{1,80}", re.ASCII)


@dataclass(frozen=True)
class Notices:
    """What one `drain` found. No name of a picture is kept: it can name a person."""

    events: int = 0
    """How many objects came or went. Never too few; some may count twice, as S3 and SQS promise
    to say each at least once."""
    handles: tuple[str, ...] = field(default=(), repr=False)
    """What the messages are deleted by."""


class InputQueue:
    """The queue that S3 tells of objects that come and go under the input.

    A message stays until it is acknowledged. Acknowledge notices only after acting on them:
    after a crash in between they come again, and the input is listed once too often, not once too
    few.
    """

    def __init__(self, url: str, region: str) -> None:
        """Take a queue. AWS is not asked.

        Args:
            url: the queue's URL, as infra's output `input_queue_url` has it.
            region: the configured region.

        Raises:
            SettingsError: it is no URL of a queue in that region of the EU.
        """
        _require_in_region(url, region)
        self._url = url
        self._region = region

    def drain(self, limit: int = RECEIVES) -> Notices:
        """Receive what is there, and delete none of it but S3's test messages.

        What is more than `limit` calls bring, ten messages each, is left for the next time.

        Raises:
            AwsError: there is no such queue, or the role may not read it.
        """
        received: dict[str, tuple[str, int]] = {}
        for message in self._messages(limit):
            # One that comes twice counts once, and only its last handle deletes it.
            received[message["MessageId"]] = message["ReceiptHandle"], _events(message["Body"])
        self._delete([handle for handle, events in received.values() if not events])
        found = {handle: events for handle, events in received.values() if events}
        return Notices(sum(found.values()), tuple(found))

    def acknowledge(self, notices: Notices) -> None:
        """Delete the messages of these notices. To be called once a run was asked for.

        Raises:
            AwsError: some of them could not be deleted, also in a second try; they come again.
        """
        self._delete(notices.handles)

    def _messages(self, limit: int) -> Iterator[dict[str, Any]]:
        """Messages until there are none for now, or `limit` or the time is reached."""
        end = time.monotonic() + DRAIN_SECONDS
        for _ in range(limit):
            messages = self._receive()
            yield from messages
            if not messages or time.monotonic() >= end:
                return

    def _receive(self) -> list[dict[str, Any]]:
        with self._queue_errors("Receiving messages from"):
            answer: dict[str, Any] = client("sqs", self._region).receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
            )
        return answer.get("Messages") or []

    def _delete(self, handles: Sequence[str]) -> None:
        """Delete messages; those that SQS says it could not delete are tried once more."""
        stayed = self._delete_once(handles)
        stayed = self._delete_once(list(stayed))
        if stayed:
            codes = ", ".join(sorted(set(stayed.values())))
            raise AwsError(
                f"Deleting {len(stayed)} of {len(handles)} messages from {self._url} failed, also "
                f"in a second try: {codes}. Nothing is lost: they come again, and the input is "
                "listed once more. Where it goes on, see what SQS says of that code.",
                next(iter(stayed.values())),
            )

    def _delete_once(self, handles: Sequence[str]) -> dict[str, str]:
        """Delete messages, ten a call; the handles of those that stayed, each with SQS's code."""
        stayed: dict[str, str] = {}
        for start in range(0, len(handles), BATCH):
            batch = handles[start : start + BATCH]
            entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(batch)]
            with self._queue_errors("Deleting messages from"):
                answer = client("sqs", self._region).delete_message_batch(
                    QueueUrl=self._url, Entries=entries
                )
            failed = answer.get("Failed") or []
            stayed |= {batch[int(one["Id"])]: str(one["Code"]) for one in failed}
        return stayed

    @contextmanager
    def _queue_errors(self, doing: str) -> Iterator[None]:
        try:
            with aws_errors(f"{doing} {self._url}"):
                yield
        except AwsError as error:
            if error.code not in _NO_QUEUE:
                raise
            raise AwsError(
                f"{doing} {self._url} failed: there is no such queue. Set FRUITS_INPUT_QUEUE to "
                "the one that `make -s env` prints, or unset it: the input is then listed at "
                "each evaluation.",
                error.code,
            ) from error


def _events(body: str) -> int:
    """How many events a message tells of: none for S3's test, one where it cannot be read.

    To list once too often does no harm, and S3 may come to write what is not known here.
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
    """See that a URL is a queue's in that region, or of the endpoint that stands in for AWS."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and url.startswith(f"{endpoint.rstrip('/')}/"):
        return
    found = _QUEUE_URL.fullmatch(url)
    if found is None:
        raise SettingsError(
            f"The queue {url!r} is no URL of SQS: it has to be "
            "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, as `make -s env` prints it. Unset "
            "FRUITS_INPUT_QUEUE where there is no queue."
        )
    if found[1] not in EU_REGIONS:
        raise SettingsError(
            f"The queue {url} is in {found[1]}, and names of pictures have to stay in the EU. Use "
            f"the queue that `terraform apply` makes in one of {', '.join(EU_REGIONS)}."
        )
    if found[1] != region:
        raise SettingsError(
            f"The queue {url} is in {found[1]}, not in the configured {region}; S3 tells queues of "
            "its own region only. Use the queue that `make -s env` prints, or set FRUITS_REGION "
            "to the bucket's region."
        )
