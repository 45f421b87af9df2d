"""The sensor with a queue: the input is listed only after notifications, and none is lost."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest

from fruits_assets import automation, notifications
from fruits_assets.resources import AssetStorage, InputFolder
from fruits_assets.settings import load_settings
from spark_src.errors import SettingsError
from spark_src.io.aws import client
from tests.conftest import new_bucket
from tests.fruits_assets.conftest import evaluate_sensor

REGION = "eu-west-1"
HIDDEN_SECONDS = 2
"""The visibility timeout of received messages."""

QUIET = "nothing was announced: the input was not listed"
WAITS = "waiting until no more arrive"


class Announced:
    """A sensor of a bucket's input, with its queue and its cursor."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.url: str | None = str(
            client("sqs", REGION).create_queue(
                QueueName=f"fruits-{uuid.uuid4().hex[:12]}",
                Attributes={"VisibilityTimeout": str(HIDDEN_SECONDS)},
            )["QueueUrl"]
        )
        self.input, self.storage = (f"s3://{bucket}/{folder}" for folder in ("input", "data"))
        self.cursor: str | None = None
        self.instance = dg.DagsterInstance.ephemeral()

    def put(self, name: str, announce: bool = True) -> None:
        key = f"input/{name}"
        content = uuid.uuid4().bytes
        client("s3", REGION).put_object(Bucket=self.bucket, Key=key, Body=content)
        if announce:
            record = {"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}
            body = json.dumps({"Records": [record]})
            client("sqs", REGION).send_message(QueueUrl=self.url, MessageBody=body)

    def evaluate(self) -> str:
        """Evaluate the sensor; return the skip reason or the requested assets."""
        resources = {
            "input_folder": InputFolder(uri=self.input, queue_url=self.url),
            "storage": AssetStorage(root=self.storage),
        }
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=resources
        ) as context:
            found = evaluate_sensor(context)
        self.cursor = getattr(found, "cursor", None) or context.cursor
        if isinstance(found, dg.SkipReason):
            return str(found.skip_message)
        assert isinstance(found, dg.SensorResult) and found.run_requests
        (request,) = found.run_requests
        return " ".join(key.to_user_string() for key in request.asset_selection or ())

    def settle(self) -> None:
        """Evaluate until a run is requested and its messages are deleted."""
        for wanted in (WAITS, "raw_images"):
            assert wanted in self.evaluate()
        if self.left():
            time.sleep(HIDDEN_SECONDS)
            assert "none of them new" in self.evaluate()
        assert self.left() == 0

    def left(self) -> int:
        """Number of messages in the queue, including hidden ones."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = client("sqs", REGION).get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(number) for number in answer["Attributes"].values())


@pytest.fixture
def announced(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Announced:
    monkeypatch.setattr(
        notifications, "WAIT_SECONDS", 0
    )  # the emulated queue has only one server, so long polling is not needed
    return Announced(bucket)


def test_nothing_is_listed_while_nothing_is_announced(announced: Announced) -> None:
    announced.put("1.jpg", announce=False)
    announced.settle()
    announced.put("2.jpg", announce=False)
    assert announced.evaluate() == QUIET
    assert announced.evaluate() == QUIET


def test_without_a_cursor_the_input_is_listed_in_any_case(announced: Announced) -> None:
    announced.put("older than the queue.jpg", announce=False)
    assert WAITS in announced.evaluate()
    assert "raw_images" in announced.evaluate()


def test_the_input_is_listed_about_once_a_day_in_any_case(
    announced: Announced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "EVALUATIONS_PER_DAY", 2)
    announced.put("1.jpg", announce=False)
    announced.settle()
    announced.put("announced to nobody.jpg", announce=False)
    assert [announced.evaluate(), announced.evaluate()] == [QUIET, QUIET]
    assert WAITS in announced.evaluate()
    assert "raw_images" in announced.evaluate()
    assert announced.evaluate() == QUIET


def test_a_day_has_this_many_evaluations() -> None:
    assert automation.EVALUATIONS_PER_DAY * automation.INTERVAL_SECONDS == 24 * 60 * 60


def test_a_message_stays_until_its_run_is_requested(announced: Announced) -> None:
    announced.put("1.jpg")
    assert WAITS in announced.evaluate()
    assert announced.left() == 1
    assert "raw_images" in announced.evaluate()
    assert announced.left() == 1  # the run is not recorded in Dagster yet
    time.sleep(HIDDEN_SECONDS)
    assert "none of them new" in announced.evaluate()
    assert announced.left() == 0
    assert announced.evaluate() == QUIET


def test_a_redelivered_message_causes_a_listing_but_no_run(
    announced: Announced,
) -> None:
    announced.put("1.jpg")
    assert WAITS in announced.evaluate()
    assert "raw_images" in announced.evaluate()
    time.sleep(HIDDEN_SECONDS)
    assert "1 file, none of them new" in announced.evaluate()


def test_pictures_announced_while_a_batch_waits_belong_to_it(announced: Announced) -> None:
    announced.put("1.jpg")
    assert "1 file; waiting" in announced.evaluate()
    announced.put("2.jpg")
    assert "2 files; waiting" in announced.evaluate()
    assert "raw_images" in announced.evaluate()


def test_an_object_that_was_overwritten_in_place_is_detected(announced: Announced) -> None:
    announced.put("1.jpg")
    announced.settle()
    announced.put("1.jpg")
    assert WAITS in announced.evaluate()
    assert "raw_images" in announced.evaluate()


def test_without_a_queue_the_overwritten_object_is_detected_by_its_etag(bucket: str) -> None:
    announced = Announced(bucket)
    announced.url = None
    announced.put("1.jpg", announce=False)
    assert [WAITS in announced.evaluate(), "raw_images" in announced.evaluate()] == [True, True]
    announced.put("1.jpg", announce=False)
    assert WAITS in announced.evaluate()


def test_a_missing_queue_is_reported_and_the_cursor_is_kept(announced: Announced) -> None:
    announced.put("1.jpg")
    announced.evaluate()
    before = announced.cursor
    client("sqs", REGION).delete_queue(QueueUrl=announced.url)
    assert "Set FRUITS_INPUT_QUEUE" in announced.evaluate()
    assert announced.cursor == before


def test_a_local_folder_is_listed_even_if_a_queue_is_set(
    announced: Announced, tmp_path: Path
) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "1.jpg").write_bytes(b"a picture")
    announced.input, announced.storage = (str(tmp_path / name) for name in ("input", "data"))
    assert WAITS in announced.evaluate()
    assert "raw_images" in announced.evaluate()
    assert "none of them new" in announced.evaluate()


def test_a_bucket_of_the_storage_in_another_region_is_not_read(announced: Announced) -> None:
    announced.put("1.jpg")
    announced.storage = f"s3://{new_bucket('eu-west-3')}/data"
    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        announced.evaluate()
    assert "is in eu-west-3, not in the configured eu-west-1" in str(caught.value.__cause__)
    assert announced.left() == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is not an SQS URL"),
        ("https://example.org/queue", "is not an SQS URL"),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/input", "must stay in the EU"),
        ("https://sqs.eu-west-3.amazonaws.com/123456789012/input", "not in the configured"),
    ],
)
def test_a_queue_outside_the_region_is_refused(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_INPUT_QUEUE", url)
    with pytest.raises(SettingsError, match=f"(?s)^FRUITS_INPUT_QUEUE='{url}': .*{reason}"):
        load_settings()


def test_a_queue_of_the_region_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://sqs.eu-west-3.amazonaws.com/123456789012/input"
    monkeypatch.setenv("FRUITS_REGION", "eu-west-3")
    monkeypatch.setenv("FRUITS_INPUT_QUEUE", url)
    assert load_settings().input_queue == url
