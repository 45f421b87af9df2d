"""The queue of S3 notifications: no message is lost, and no names are kept."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from moto.sqs.models import SQSBackend

from fruits_assets import notifications
from fruits_assets.notifications import InputQueue, Notices
from spark_src.errors import AwsError, SettingsError
from spark_src.io.aws import client

REGION = "eu-west-1"
AWS_URL = f"https://sqs.{REGION}.amazonaws.com/123456789012/fruits-features-input"


class Notified:
    """A queue with helpers to send and count messages."""

    def __init__(self) -> None:
        made = client("sqs", REGION).create_queue(QueueName=f"fruits-{uuid.uuid4().hex[:12]}")
        self.url = str(made["QueueUrl"])
        self.queue = InputQueue(self.url, REGION)

    def listen(self, bucket: str) -> None:
        """Configure the bucket's notifications as infra/storage.tf does."""
        attributes = self._attributes("QueueArn")
        notified = {
            "QueueArn": attributes["QueueArn"],
            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "input/"}]}},
        }
        client("s3", REGION).put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [notified]}
        )

    def send(self, *bodies: str) -> None:
        for body in bodies:
            client("sqs", REGION).send_message(QueueUrl=self.url, MessageBody=body)

    def show_again(self, notices: Notices) -> None:
        """Make received messages visible again, as after their visibility timeout."""
        for handle in notices.handles:
            client("sqs", REGION).change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0
            )

    def show_immediately(self) -> None:
        """Set the visibility timeout to zero."""
        client("sqs", REGION).set_queue_attributes(
            QueueUrl=self.url, Attributes={"VisibilityTimeout": "0"}
        )

    def left(self) -> int:
        """Number of messages in the queue, including hidden ones."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(number) for number in self._attributes(*names).values())

    def _attributes(self, *names: str) -> dict[str, str]:
        answer: dict[str, Any] = client("sqs", REGION).get_queue_attributes(
            QueueUrl=self.url, AttributeNames=list(names)
        )
        return dict(answer["Attributes"])


@pytest.fixture
def notified(aws: str) -> Notified:  # noqa: ARG001
    return Notified()


@pytest.fixture
def listening(notified: Notified, bucket: str) -> Notified:
    notified.listen(bucket)
    assert notified.queue.drain() == Notices()
    return notified


def put(bucket: str, key: str) -> None:
    client("s3", REGION).put_object(Bucket=bucket, Key=key, Body=b"a picture")


def test_an_empty_queue_has_no_events(notified: Notified) -> None:
    assert notified.queue.drain() == Notices(events=0, handles=())
    notified.queue.acknowledge(Notices())


def test_changes_of_the_input_are_announced_but_not_those_of_the_storage(
    listening: Notified, bucket: str
) -> None:
    put(bucket, "input/photos/anna/1.jpg")
    put(bucket, "data/raw_images/part-0.parquet")
    client("s3", REGION).delete_object(Bucket=bucket, Key="input/photos/anna/1.jpg")
    assert listening.queue.drain().events == 2


def test_nothing_of_a_pictures_name_is_kept(listening: Notified, bucket: str) -> None:
    put(bucket, "input/photos/anna/1.jpg")
    notices = listening.queue.drain()
    assert notices.events == 1
    assert "anna" not in f"{notices} {vars(notices)} {vars(listening.queue)}"


def test_the_test_message_of_s3_is_deleted_immediately_and_not_counted(
    notified: Notified, bucket: str
) -> None:
    notified.listen(bucket)
    assert notified.left() == 1
    assert notified.queue.drain() == Notices()
    assert notified.left() == 0


def test_messages_are_redelivered_until_they_are_acknowledged(
    listening: Notified, bucket: str
) -> None:
    put(bucket, "input/1.jpg")
    first = listening.queue.drain()
    assert listening.queue.drain().events == 0  # hidden, so that no second call receives it
    listening.show_again(first)
    again = listening.queue.drain()
    assert again.events == first.events == 1
    listening.queue.acknowledge(again)
    assert listening.left() == 0


def test_messages_after_a_drain_are_not_acknowledged_with_it(notified: Notified) -> None:
    notified.send("one")
    notices = notified.queue.drain()
    notified.send("another")
    notified.queue.acknowledge(notices)
    assert notified.left() == 1
    assert notified.queue.drain().events == 1


def test_acknowledging_twice_does_no_harm(notified: Notified) -> None:
    notified.send("one")
    notices = notified.queue.drain()
    for _ in range(2):
        notified.queue.acknowledge(notices)
    assert notified.left() == 0


def test_a_message_that_is_delivered_twice_counts_once_and_is_deleted(notified: Notified) -> None:
    notified.show_immediately()
    notified.send("one", "another")
    notices = notified.queue.drain(limit=3)
    assert notices.events == len(notices.handles) == 2
    notified.queue.acknowledge(notices)
    assert notified.left() == 0


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        "null",
        '"s3:TestEvent"',
        "{}",
        '{"Records": []}',
        '{"Records": 3}',
        '{"Event": 1}',
        "[" * 100_000,
    ],
    ids=lambda body: body[:20],
)
def test_an_unreadable_message_counts_as_an_event_and_can_be_acknowledged(
    notified: Notified, body: str
) -> None:
    notified.send(body)
    notices = notified.queue.drain(limit=1)
    assert notices.events == 1
    notified.queue.acknowledge(notices)
    assert notified.left() == 0


def test_each_event_of_a_message_is_counted(notified: Notified) -> None:
    notified.send('{"Records": [{"eventName": "ObjectCreated:Put"}, {}, {}]}')
    assert notified.queue.drain(limit=1).events == 3


def test_a_drain_respects_its_limit_and_the_next_one_continues(notified: Notified) -> None:
    notified.send(*map(str, range(25)))
    first = notified.queue.drain(limit=2)
    assert first.events == 20
    rest = notified.queue.drain()
    assert rest.events == 5
    notified.queue.acknowledge(first)  # two calls of ten messages
    notified.queue.acknowledge(rest)
    assert notified.left() == 0


def test_a_drain_ends_in_time_even_if_messages_keep_arriving(
    notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "DRAIN_SECONDS", 0)
    notified.send(*map(str, range(25)))
    assert notified.queue.drain().events == 10


class Failing:
    """SQS fails for the first message of a batch, in the first calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
        self.batches: list[int] = []
        real = SQSBackend.delete_message_batch

        def delete(
            backend: SQSBackend, queue_name: str, receipts: list[dict[str, Any]]
        ) -> tuple[list[str], list[dict[str, Any]]]:
            self.batches.append(len(receipts))
            if len(self.batches) > calls:
                done: tuple[list[str], list[dict[str, Any]]] = real(backend, queue_name, receipts)
                return done
            first, *others = receipts
            deleted, failed = real(backend, queue_name, others)
            refusal = {"Id": first["Id"], "SenderFault": False, "Code": "InternalError"}
            return deleted, [*failed, refusal]

        monkeypatch.setattr(SQSBackend, "delete_message_batch", delete)


def test_a_failed_deletion_is_retried_once(
    notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified.send(*map(str, range(12)))
    notices = notified.queue.drain()
    failing = Failing(monkeypatch, calls=2)
    notified.queue.acknowledge(notices)
    assert failing.batches == [10, 2, 2]  # the last call: one of each of the first two
    assert notified.left() == 0


def test_a_message_that_cannot_be_deleted_is_reported_and_redelivered(
    notified: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    notified.send(*map(str, range(12)))
    notices = notified.queue.drain()
    failing = Failing(monkeypatch, calls=99)
    with pytest.raises(
        AwsError, match=r"1 of 12 messages .* InternalError.* listed once"
    ) as raised:
        notified.queue.acknowledge(notices)
    assert raised.value.code == "InternalError"
    assert failing.batches == [10, 2, 2]
    assert notified.left() == 1


def test_a_test_message_that_cannot_be_deleted_does_not_affect_others(
    listening: Notified, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "input/1.jpg")
    listening.listen(bucket)
    with monkeypatch.context() as patched:
        Failing(patched, calls=99)
        with pytest.raises(AwsError, match="InternalError"):
            listening.queue.drain()
    assert listening.left() == 2


@pytest.mark.parametrize("call", ["drain", "acknowledge"])
def test_a_missing_queue_is_reported_with_the_remedy(aws: str, call: str) -> None:
    queue = InputQueue(f"{aws}/123456789012/fruits-none", REGION)
    with pytest.raises(AwsError, match=r"no such queue\. Set FRUITS_INPUT_QUEUE .* or unset it"):
        queue.drain() if call == "drain" else queue.acknowledge(Notices(1, ("a handle",)))


def test_other_aws_errors_are_reported(notified: Notified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "BATCH", 11)  # more than SQS accepts
    with pytest.raises(AwsError, match=f"Receiving messages from {notified.url} failed: Invalid"):
        notified.queue.drain()


def test_the_url_of_a_queue_in_the_region_is_accepted_without_calling_aws() -> None:
    InputQueue(AWS_URL, REGION)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is not an SQS URL"),
        ("fruits-features-input", "is not an SQS URL"),
        (f"arn:aws:sqs:{REGION}:123456789012:fruits-features-input", "is not an SQS URL"),
        (AWS_URL.replace("https", "http"), "is not an SQS URL"),
        (AWS_URL.replace(".com", ".com.example.org"), "is not an SQS URL"),
        (AWS_URL.replace("sqs.", "sns."), "is not an SQS URL"),
        (f"{AWS_URL}\n", "is not an SQS URL"),
        (f"{AWS_URL}.fifo", "is not an SQS URL"),  # S3 cannot send to it
        ("http://127.0.0.1:5000/123456789012/queue", "is not an SQS URL"),
        (AWS_URL.replace(REGION, "eu-west-2"), "eu-west-2, but names of pictures .* in the EU"),
        (AWS_URL.replace(REGION, "us-east-1"), "us-east-1, but names of pictures .* in the EU"),
        (AWS_URL.replace(REGION, "eu-west-3"), "eu-west-3, not in the configured eu-west-1"),
    ],
)
def test_other_urls_are_refused_with_the_remedy(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=f"{why}(.|\n)*(Use|Unset)"):
        InputQueue(url, REGION)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"])
def test_only_urls_of_the_configured_endpoint_are_accepted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://localhost:5000")
    InputQueue("http://localhost:5000/123456789012/queue", REGION)
    with pytest.raises(SettingsError, match="is not an SQS URL"):
        InputQueue("http://localhost:50000/123456789012/queue", REGION)
