"""What runs by itself once it is switched on: the sensor of the input."""

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

SENSOR = "new_pictures"

INTERVAL_SECONDS = 120
"""Between two evaluations."""

MAX_EVALUATIONS = 10
"""Evaluations after which a batch is closed, even while pictures are still coming."""

MAX_FAILURES = 3
"""Failed runs in a row after which no other is requested until the input changes."""

EVALUATIONS_PER_DAY = 24 * 60 * 60 // INTERVAL_SECONDS
"""Where a queue announces new objects, the input is listed all the same once in so many
evaluations: messages expire, and objects that are older than the queue were never announced."""


@dataclass(frozen=True)
class SensorCursor:
    """What the sensor keeps between evaluations: a few digests, however many files there are."""

    done: str = ""
    """Fingerprint of the input for which a run was last requested."""
    seen: str = ""
    """Fingerprint at the last evaluation."""
    evaluations: int = 0
    """How often the input was found changed since."""
    quiet: int = 0
    """Evaluations in a row without a listing, as the queue announced nothing."""
    runs: int = 0
    """How many runs were requested."""
    failed: int = 0
    """How many of them failed in a row, the input being what it is."""

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read a cursor; other releases may have written other fields, or anything.

        Where it holds nothing of use, runs are numbered from the time on: Dagster makes no second
        run of a key, also after somebody has reset the cursor.
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
        """As Dagster keeps it."""
        return json.dumps(asdict(self))

    @property
    def is_settled(self) -> bool:
        """Whether a run was requested, and nothing was found changed since."""
        return bool(self.done) and self.seen == self.done


def _parse_object(text: str | None) -> dict[str, Any]:
    """The object that a text holds as JSON; an empty one where it holds anything else."""
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
    description="Requests a run for the pictures that are new under the input, one for each batch: "
    f"once two evaluations in a row, {INTERVAL_SECONDS // 60} minutes apart, found the same files.",
)
def new_pictures(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the input; what cannot be read is the reason for a skip.

    A bucket that is not fit for data fails the tick before: resources inspect theirs.
    """
    try:
        resources = context.resources
        return _evaluate(context, resources.input_folder, resources.storage.tables)
    except FruitsError as error:
        return dg.SkipReason(str(error))


def _evaluate(
    context: dg.SensorEvaluationContext, source: InputFolder, tables: Tables
) -> dg.SensorResult | dg.SkipReason:
    """List the input, unless its queue says that nothing came or went."""
    cursor, queue = _retried(context, SensorCursor.parse(context.cursor)), source.queue
    notices = queue.drain() if queue else None
    if notices is not None and _is_quiet(cursor, notices):
        context.update_cursor(replace(cursor, quiet=cursor.quiet + 1).text)
        return dg.SkipReason("nothing was announced: the input was not listed")
    listing = source.listing()
    found = fingerprint(listing)
    if queue and notices and found == cursor.done:
        queue.acknowledge(notices)  # a run was requested that finds all they announce
    return _request(context, cursor, found, listing.n_pictures, tables)


def _retried(context: dg.SensorEvaluationContext, cursor: SensorCursor) -> SensorCursor:
    """Take a run that failed as not requested: a network or a disk may be there again.

    A few times: a run that fails for what the input holds would fail for ever.
    """
    if not cursor.done or cursor.failed >= MAX_FAILURES:
        return cursor
    tags = {"dagster/run_key": _run_key(cursor.runs, cursor.done), "dagster/sensor_name": SENSOR}
    runs = context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)
    if not runs or runs[0].status != dg.DagsterRunStatus.FAILURE:
        return cursor
    return replace(cursor, done="", failed=cursor.failed + 1)


def _run_key(runs: int, found: str) -> str:
    """Numbered: Dagster makes one run a key, and the input may become what it was before."""
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
    """Request a run once the changed input has settled, or has been changing for long."""
    word = "file" if files == 1 else "files"
    if found == cursor.done:
        context.update_cursor(replace(cursor, seen=found, evaluations=0, quiet=0).text)
        return dg.SkipReason(f"{files:,} {word}, none of them new")
    if found != cursor.seen and cursor.evaluations < MAX_EVALUATIONS:
        waiting = SensorCursor(cursor.done, found, cursor.evaluations + 1, runs=cursor.runs)
        context.update_cursor(waiting.text)
        return dg.SkipReason(f"{files:,} {word}; waits until no more come")
    failed = cursor.failed if found == cursor.seen else 0
    requested = SensorCursor(found, found, runs=cursor.runs + 1, failed=failed)
    key = _run_key(requested.runs, found)
    request = dg.RunRequest(run_key=key, asset_selection=_selection(tables))
    return dg.SensorResult([request], cursor=requested.text)


def _selection(tables: Tables) -> list[dg.AssetKey]:
    """The pictures, and the model where there is none: without it nothing downstream is made."""
    model = tables.find(MOBILENET_MODEL)
    names = [RAW_IMAGES, REJECTED_IMAGES, *([] if model else [MOBILENET_MODEL])]
    return [dg.AssetKey(name) for name in names]
