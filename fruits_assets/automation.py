"""What runs by itself once it is switched on: a look at the input, and the downstream assets."""

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import dagster as dg

from fruits_assets.notifications import InputQueue, Notices
from spark_src.errors import FruitsError
from spark_src.images.listing import fingerprint, list_files
from spark_src.io.locations import Location
from spark_src.io.residency import require_in_region
from spark_src.tables.delta import Tables

SENSOR = "new_pictures"

INTERVAL_SECONDS = 120
"""Between two looks at the input."""

MAX_EVALUATIONS = 10
"""Looks after which a batch is closed, even while pictures are still coming."""

MAX_FAILURES = 3
"""Failed runs in a row after which no other is asked for until the input changes."""

EVALUATIONS_PER_DAY = 24 * 60 * 60 // INTERVAL_SECONDS
"""Where a queue announces new objects, the input is listed all the same once in so many looks:
messages expire, and objects that are older than the queue were never announced."""

ON_UPSTREAM_UPDATE = dg.AutomationCondition.eager()
"""An asset that is made when what it is made of was made."""


@dataclass(frozen=True)
class Watch:
    """What the sensor remembers between two looks: a few digests, however many files there are."""

    done: str = ""
    """Fingerprint of the input that was last asked to be materialized."""
    seen: str = ""
    """Fingerprint at the last look."""
    looks: int = 0
    """How often it was found changed since."""
    quiet: int = 0
    """How many looks in a row nothing was listed, as the queue announced nothing."""
    runs: int = 0
    """How many runs were asked for."""
    failed: int = 0
    """How many of them failed in a row, the input being what it is."""

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """What a cursor holds; other releases may have written other fields, or anything.

        Where it holds nothing of use, runs are numbered from the time on: Dagster makes no second
        run of a key, also after somebody has reset the cursor.
        """
        known: dict[str, Any] = {"runs": time.time_ns() // 1_000_000} | _parse_object(cursor)
        return cls(
            **{
                item.name: known[item.name]
                for item in fields(cls)
                if isinstance(known.get(item.name), type(item.default))
            }
        )

    @property
    def cursor(self) -> str:
        """What Dagster keeps until the next look."""
        return json.dumps(asdict(self))

    @property
    def is_settled(self) -> bool:
        """Whether a run was asked for, and nothing was found changed since."""
        return bool(self.done) and self.seen == self.done


def _parse_object(text: str | None) -> dict[str, Any]:
    """The object that a text holds as JSON; an empty one where it holds anything else."""
    try:
        known = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def sensor(
    source: Location, storage: Location, region: str, queue_url: str | None = None
) -> dg.SensorDefinition:
    """The sensor of an input: it asks for one run a batch, not for one a picture.

    Args:
        source: the input.
        storage: where the assets lie.
        region: that the input's bucket has to be in.
        queue_url: of the SQS queue to which S3 announces what comes and goes; None: list.
    """
    # No queue announces what comes into a folder of this machine.
    queue = InputQueue(queue_url, region) if queue_url and source.scheme == "s3" else None

    @dg.sensor(
        name=SENSOR,
        target=dg.AssetSelection.assets("raw_images", "rejected_images", "mobilenet_model"),
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Materializes what is new under the input, once no more pictures come.",
    )
    def new_pictures(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        watch = _again_if_failed(context, Watch.parse(context.cursor))
        try:
            require_in_region([source, storage], region)
            notices = queue.drain() if queue else None
            if notices is not None and _is_quiet(watch, notices):
                context.update_cursor(replace(watch, quiet=watch.quiet + 1).cursor)
                return dg.SkipReason("nothing was announced: the input was not listed")
            listing = list_files(source)
            found = fingerprint(listing)
            if queue and notices and found == watch.done:
                queue.acknowledge(notices)  # a run was asked for that finds all they announce
            return _look(context, watch, found, listing.n_pictures, storage)
        except FruitsError as error:
            return dg.SkipReason(str(error))

    return new_pictures


def _again_if_failed(context: dg.SensorEvaluationContext, watch: Watch) -> Watch:
    """Take a run that failed as not asked for: a network or a disk may be there again.

    A few times: a run that fails for what the input holds would fail for ever.
    """
    if not watch.done or watch.failed >= MAX_FAILURES:
        return watch
    tags = {"dagster/run_key": _run_key(watch.runs, watch.done), "dagster/sensor_name": SENSOR}
    runs = context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)
    if not runs or runs[0].status != dg.DagsterRunStatus.FAILURE:
        return watch
    return replace(watch, done="", failed=watch.failed + 1)


def _run_key(runs: int, found: str) -> str:
    """Numbered: Dagster makes one run a key, and the input may become what it was before."""
    return f"{runs} {found}"


def _is_quiet(watch: Watch, notices: Notices) -> bool:
    """Whether nothing can have changed since the last look."""
    return watch.is_settled and not notices.events and watch.quiet < EVALUATIONS_PER_DAY


def _look(
    context: dg.SensorEvaluationContext, watch: Watch, found: str, files: int, storage: Location
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run where the input has changed and is still, or has changed for long."""
    if found == watch.done:
        context.update_cursor(replace(watch, seen=found, looks=0, quiet=0).cursor)
        return dg.SkipReason(f"{files:,} files, none of them new")
    failed = watch.failed if found == watch.seen else 0
    if found != watch.seen and watch.looks < MAX_EVALUATIONS:
        waiting = replace(watch, seen=found, looks=watch.looks + 1, quiet=0, failed=0)
        context.update_cursor(waiting.cursor)
        return dg.SkipReason(f"{files:,} files; waits until no more come")
    runs = watch.runs + 1
    request = dg.RunRequest(run_key=_run_key(runs, found), asset_selection=_to_make(storage))
    cursor = Watch(found, found, runs=runs, failed=failed).cursor
    return dg.SensorResult([request], cursor=cursor)


def _to_make(storage: Location) -> list[dg.AssetKey]:
    """The pictures, and the model where there is none: without it nothing downstream is made."""
    model = Tables(storage).find("mobilenet_model")
    names = ["raw_images", "rejected_images", *([] if model else ["mobilenet_model"])]
    return [dg.AssetKey(name) for name in names]
