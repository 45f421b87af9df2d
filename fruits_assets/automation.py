"""What runs by itself once it is switched on: a look at the input, and the downstream assets."""

import json
from dataclasses import asdict, dataclass, replace

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

MAX_LOOKS = 10
"""Looks after which a batch is closed, even while pictures are still coming."""

LOOKS_PER_DAY = 24 * 60 * 60 // INTERVAL_SECONDS
"""Where a queue announces new objects, the input is listed all the same once in so many looks:
messages expire, and objects that are older than the queue were never announced."""

FOLLOWS = dg.AutomationCondition.eager()
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

    @dg.sensor(
        name=SENSOR,
        target=dg.AssetSelection.assets("raw_images", "rejected_images", "mobilenet_model"),
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Materializes what is new under the input, once no more pictures come.",
    )
    def new_pictures(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        watch = Watch(**json.loads(context.cursor)) if context.cursor else Watch()
        try:
            require_in_region([source], region)
            queue = InputQueue(queue_url, region) if queue_url else None
            notices = queue.drain() if queue else None
            if _is_quiet(watch, notices):
                context.update_cursor(_cursor(replace(watch, quiet=watch.quiet + 1)))
                return dg.SkipReason("nothing was announced: the input was not listed")
            listing = list_files(source)
            if queue and notices and fingerprint(listing) == watch.done:
                queue.acknowledge(notices)  # the run of this very listing was asked for
        except FruitsError as error:
            return dg.SkipReason(str(error))
        return _look(context, watch, fingerprint(listing), listing.n_pictures, storage)

    return new_pictures


def _is_quiet(watch: Watch, notices: Notices | None) -> bool:
    """Whether nothing can have changed since the last look."""
    if notices is None or notices.events or watch.seen != watch.done or not watch.done:
        return False
    return watch.quiet < LOOKS_PER_DAY


def _look(
    context: dg.SensorEvaluationContext, watch: Watch, found: str, files: int, storage: Location
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run where the input has changed and is still, or has changed for long."""
    if found == watch.done:
        context.update_cursor(_cursor(Watch(done=found, seen=found)))
        return dg.SkipReason(f"{files:,} files, none of them new")
    if found != watch.seen and watch.looks < MAX_LOOKS:
        context.update_cursor(_cursor(Watch(watch.done, found, watch.looks + 1)))
        return dg.SkipReason(f"{files:,} files; waits until no more come")
    request = dg.RunRequest(run_key=found, asset_selection=_to_make(storage))
    return dg.SensorResult([request], cursor=_cursor(Watch(done=found, seen=found)))


def _to_make(storage: Location) -> list[dg.AssetKey]:
    """The pictures, and the model where there is none: without it nothing downstream is made."""
    model = Tables(storage).find("mobilenet_model")
    names = ["raw_images", "rejected_images", *([] if model else ["mobilenet_model"])]
    return [dg.AssetKey(name) for name in names]


def _cursor(watch: Watch) -> str:
    return json.dumps(asdict(watch))
