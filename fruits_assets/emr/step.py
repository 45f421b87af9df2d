"""One step of a run, on the cluster: settings first, then Dagster, and its events back to S3."""

import os
import pickle
from queue import Queue
from threading import Thread
from typing import Any

from spark_src.errors import SettingsError
from spark_src.io.aws import client

REMOTE = "FRUITS_REMOTE_STEP"
"""Set in a step's process on the cluster, nowhere else."""

Order = dict[str, Any]
"""What the launcher sends: `settings` (variables by name) and Dagster's `step` reference."""


def is_remote() -> bool:
    """Whether this process is a step on the cluster."""
    return REMOTE in os.environ


def run(bucket: str, key: str) -> None:
    """Do the step that the file at this key describes.

    Raises:
        SettingsError: the settings did not come with it.
    """
    s3 = client("s3")
    order: Order = pickle.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())  # noqa: S301
    adopt(order)
    step = pickle.loads(order["step"])  # noqa: S301 - after the settings: it imports definitions
    _execute(step, bucket, f"{os.path.dirname(key)}/events.pkl")


def adopt(order: Order) -> None:
    """Take over the deployment that was chosen on the host; there is no default for it here.

    Raises:
        SettingsError: it is missing.
    """
    settings = order.get("settings") or {}
    if settings.get("FRUITS_DEPLOYMENT") != "emr":
        raise SettingsError(
            "This step came without its settings (FRUITS_DEPLOYMENT=emr and what belongs to it), "
            "so it would read and write the wrong storage. Launch it with this project's launcher."
        )
    for name in [name for name in os.environ if name.startswith("FRUITS_")]:
        del os.environ[name]
    os.environ.update(settings | {REMOTE: "1"})


def _execute(step: Any, bucket: str, events_key: str) -> None:
    from dagster._core.execution.plan.external_step import (
        external_instance_from_step_run_ref,
        run_step_from_ref,
    )
    from dagster._serdes import serialize_value
    from dagster_aws.emr.emr_step_main import DONE, event_writing_loop

    s3 = client("s3")

    def put_events(events: list[Any]) -> None:
        s3.put_object(Bucket=bucket, Key=events_key, Body=pickle.dumps(serialize_value(events)))

    events: Queue[Any] = Queue()
    loop = {"events_queue": events, "put_events_fn": put_events}
    writer = Thread(target=event_writing_loop, kwargs=loop)
    writer.start()
    try:
        instance = external_instance_from_step_run_ref(step, event_listener_fn=events.put)
        for _ in run_step_from_ref(step, instance):
            pass
    finally:
        events.put(DONE)
        writer.join()
