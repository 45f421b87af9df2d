"""The sensors that keep the assets up to date with the input. Both are off by default."""

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import dagster as dg

from fruits_assets.notifications import Notices
from fruits_assets.resources import InputFolder
from spark_src.errors import FruitsError
from spark_src.images.listing import fingerprint
from spark_src.tables.delta import Tables
from spark_src.tables.registry import MOBILENET_MODEL, RAW_IMAGES, REJECTED_IMAGES
from spark_src.text import counted

SENSOR = "new_pictures"

INTERVAL_SECONDS = 120
"""Seconds between two evaluations."""

MAX_EVALUATIONS = 10
"""Evaluations after which a run is requested even if pictures are still arriving."""

MAX_FAILURES = 3
"""Consecutive failed runs after which no further run is requested until the input changes."""

EVALUATIONS_PER_DAY = 24 * 60 * 60 // INTERVAL_SECONDS
"""With a queue, the input is still listed once per this many evaluations: messages expire, and
objects older than the queue were never announced."""


@dataclass(frozen=True)
class SensorCursor:
    """The sensor's state between evaluations. Its size does not depend on the number of files."""

    done: str = ""
    """Fingerprint of the input for which a run was last requested."""
    seen: str = ""
    """Fingerprint at the last evaluation."""
    evaluations: int = 0
    """Evaluations since then that found the input changed."""
    quiet: int = 0
    """Consecutive evaluations without a listing, because the queue announced nothing."""
    runs: int = 0
    """Number of requested runs."""
    failed: int = 0
    """Consecutive failed runs for the current input."""

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor, ignoring unknown fields and invalid values of other releases.

        Without a usable cursor, run numbers start at the current time: Dagster never repeats a run
        key, even after the cursor was reset.
        """
        known: dict[str, Any] = {"runs": time.time_ns() // 1_000_000} | _parse_object(text)
        return cls(
            **{
                item.name: known[item.name]
                for item in fields(cls)
                if isinstance(known.get(item.name), type(item.default))
            }
        )

    @property
    def text(self) -> str:
        """The cursor as JSON, as Dagster stores it."""
        return json.dumps(asdict(self))

    @property
    def is_settled(self) -> bool:
        """Whether a run was requested and the input has not changed since."""
        return bool(self.done) and self.seen == self.done


def _parse_object(text: str | None) -> dict[str, Any]:
    """Parse a JSON object; return an empty one for any other text."""
    try:
        known = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


@dg.sensor(
    name=SENSOR,
    target=dg.AssetSelection.assets(RAW_IMAGES, REJECTED_IMAGES, MOBILENET_MODEL),
    minimum_interval_seconds=INTERVAL_SECONDS,
    required_resource_keys={"input_folder", "storage"},
    description="Requests one run per batch of new pictures in the input, once two consecutive "
    f"evaluations, {INTERVAL_SECONDS // 60} minutes apart, find the same files.",
)
def new_pictures(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the input; skip with the error message if it cannot be read.

    A bucket that fails inspection fails the tick earlier, when its resource starts.
    """
    try:
        resources = context.resources
        return _evaluate(context, resources.input_folder, resources.storage.tables)
    except FruitsError as error:
        return dg.SkipReason(str(error))


refresh_downstream = dg.AutomationConditionSensorDefinition(
    name="refresh_downstream",
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=INTERVAL_SECONDS,
    description="Materializes downstream assets after their inputs were updated, within "
    f"{INTERVAL_SECONDS // 60} minutes. Turn it on together with the sensor {SENSOR}.",
)


def _evaluate(
    context: dg.SensorEvaluationContext, source: InputFolder, tables: Tables
) -> dg.SensorResult | dg.SkipReason:
    """List the input, unless its queue reports no changes."""
    cursor, queue = _retried(context, SensorCursor.parse(context.cursor)), source.queue
    notices = queue.drain() if queue else None
    if notices is not None and _is_quiet(cursor, notices):
        context.update_cursor(replace(cursor, quiet=cursor.quiet + 1).text)
        return dg.SkipReason("nothing was announced: the input was not listed")
    listing = source.listing()
    found = fingerprint(listing)
    if queue and notices and found == cursor.done:
        queue.acknowledge(notices)  # the requested run covers everything they announce
    return _request(context, cursor, found, listing.n_pictures, tables)


def _retried(context: dg.SensorEvaluationContext, cursor: SensorCursor) -> SensorCursor:
    """Treat a failed run as not requested, so that it is retried after a temporary failure.

    Limited to a few times, because a run that fails due to its input would always fail.
    """
    if not cursor.done or cursor.failed >= MAX_FAILURES:
        return cursor
    tags = {"dagster/run_key": _run_key(cursor.runs, cursor.done), "dagster/sensor_name": SENSOR}
    runs = context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)
    if not runs or runs[0].status != dg.DagsterRunStatus.FAILURE:
        return cursor
    return replace(cursor, done="", failed=cursor.failed + 1)


def _run_key(runs: int, found: str) -> str:
    """Numbered, because Dagster runs each key once and the input may return to an earlier state."""
    return f"{runs} {found}"


def _is_quiet(cursor: SensorCursor, notices: Notices) -> bool:
    """Whether nothing can have changed since the last evaluation."""
    return cursor.is_settled and not notices.events and cursor.quiet < EVALUATIONS_PER_DAY


def _request(
    context: dg.SensorEvaluationContext,
    cursor: SensorCursor,
    found: str,
    files: int,
    tables: Tables,
) -> dg.SensorResult | dg.SkipReason:
    """Request a run once the changed input has settled or the maximum wait is over."""
    if found == cursor.done:
        context.update_cursor(replace(cursor, seen=found, evaluations=0, quiet=0).text)
        return dg.SkipReason(f"{counted(files, 'file')}, none of them new")
    if found != cursor.seen and cursor.evaluations < MAX_EVALUATIONS:
        waiting = SensorCursor(cursor.done, found, cursor.evaluations + 1, runs=cursor.runs)
        context.update_cursor(waiting.text)
        return dg.SkipReason(f"{counted(files, 'file')}; waiting until no more arrive")
    failed = cursor.failed if found == cursor.seen else 0
    requested = SensorCursor(found, found, runs=cursor.runs + 1, failed=failed)
    key = _run_key(requested.runs, found)
    request = dg.RunRequest(run_key=key, asset_selection=_selection(tables))
    return dg.SensorResult([request], cursor=requested.text)


def _selection(tables: Tables) -> list[dg.AssetKey]:
    """The pictures, and the model if it is missing, because downstream assets need it."""
    model = tables.find(MOBILENET_MODEL)
    names = [RAW_IMAGES, REJECTED_IMAGES, *([] if model else [MOBILENET_MODEL])]
    return [dg.AssetKey(name) for name in names]
