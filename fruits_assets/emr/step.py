"""Runs a step on the cluster: applies the settings, runs Dagster, and uploads events to S3."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from spark_src.errors import SettingsError

REMOTE = "FRUITS_REMOTE_STEP"
"""Set only in a step's process on the cluster."""

EVENTS_FILE = "events.json"
"""All events of the step so far, next to its other files in S3."""

UPLOAD_SECONDS = 1.0
"""Seconds between two uploads of the events."""


def is_remote() -> bool:
    """Whether this process is a step on the cluster."""
    return REMOTE in os.environ


def run(region: str, bucket: str, folder: str, definition_file: Path) -> bool:
    """Run the step that the file describes.

    Args:
        region: the AWS region of the bucket and of all other resources.
        bucket: the bucket for the events.
        folder: the folder of the step's files in the bucket.
        definition_file: a local file whose digest was verified.

    Returns:
        Whether it succeeded; its events have the reason of a failure.

    Raises:
        SettingsError: the step definition has no settings.
    """
    from fruits_assets.emr.step_definition import StepDefinition
    from spark_src.io.aws import client, use_region

    use_region(region)  # before any client is created
    definition = StepDefinition.parse(definition_file.read_bytes())
    adopt(definition.settings)
    from fruits_assets.dagster_internals import run_step

    s3, key = client("s3", region), f"{folder}/{EVENTS_FILE}"
    with EventUploader(lambda content: s3.put_object(Bucket=bucket, Key=key, Body=content)) as sent:
        events = run_step(definition.step_reference(), sent.put)
    stop_spark()
    return not any(event.is_step_failure or event.is_step_up_for_retry for event in events)


def stop_spark() -> None:
    """Stop Spark, if it is running; otherwise its executors are reported as lost and restarted."""
    from py4j.protocol import Py4JError
    from pyspark.sql import SparkSession

    with suppress(Py4JError, OSError):  # it may have ended by itself
        session = SparkSession.getActiveSession()
        if session is not None:
            session.stop()


def adopt(settings: Mapping[str, str]) -> None:
    """Apply the settings of the host; there are no defaults on the cluster.

    Raises:
        SettingsError: the settings are missing.
    """
    if settings.get("FRUITS_DEPLOYMENT") != "emr":
        raise SettingsError(
            "This step has no settings (FRUITS_DEPLOYMENT=emr and related variables), so it would "
            "use the wrong storage. Launch it with this project's launcher."
        )
    for name in [name for name in os.environ if name.startswith("FRUITS_")]:
        del os.environ[name]
    os.environ.update({**settings, REMOTE: "1"})


class EventUploader:
    """Uploads all events so far, at most once per second, in a background thread."""

    def __init__(self, upload: Callable[[bytes], object]) -> None:
        self._upload = upload
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._error: Exception | None = None
        self._thread = Thread(target=self._work, name="events", daemon=True)

    def __enter__(self) -> EventUploader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def put(self, event: Any) -> None:
        """Add an event."""
        self._queue.put(event)

    def _work(self) -> None:
        from fruits_assets.emr.step_definition import dump_events

        events, sent, ended = [], 0, False
        uploaded = time.monotonic()
        while not ended:
            try:
                event = self._queue.get(timeout=UPLOAD_SECONDS)
                ended = event is None
                events += [] if ended else [event]
            except Empty:
                pass
            due = ended or time.monotonic() - uploaded >= UPLOAD_SECONDS
            if not due or len(events) == sent:
                continue
            try:
                self._upload(dump_events(events))
            except Exception as error:  # noqa: BLE001 - the next upload includes these events
                self._error = error
            else:
                self._error, sent = None, len(events)
            uploaded = time.monotonic()
