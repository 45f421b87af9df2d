"""What runs by itself once it is switched on: a look at the input, and what follows from it."""

import hashlib
import json
from dataclasses import asdict, dataclass

import dagster as dg

from spark_src.errors import FruitsError
from spark_src.images.ingest import Source, list_source
from spark_src.io.locations import Location
from spark_src.io.residency import require_in_region
from spark_src.storage import Storage

SENSOR = "new_pictures"

SECONDS = 120
"""Between two looks at the input."""

PATIENCE = 10
"""Looks after which a batch is closed, even while pictures are still coming."""

FOLLOWS = dg.AutomationCondition.eager()
"""An asset that is made when what it is made of was made."""


@dataclass(frozen=True)
class Watch:
    """What the sensor remembers between two looks."""

    done: str = ""
    """Fingerprint of the input that was last asked to be materialized."""
    seen: str = ""
    """Fingerprint at the last look."""
    looks: int = 0
    """How often it was found changed since."""


def sensor(source: Location, storage: Location, region: str) -> dg.SensorDefinition:
    """The sensor of an input: it asks for one run a batch, not for one a picture."""

    @dg.sensor(
        name=SENSOR,
        target=dg.AssetSelection.assets("raw_images", "rejected_images", "mobilenet_model"),
        minimum_interval_seconds=SECONDS,
        description="Materializes what is new under the input, once no more pictures come.",
    )
    def new_pictures(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        watch = Watch(**json.loads(context.cursor)) if context.cursor else Watch()
        try:
            require_in_region([source], region)
            listed = list_source(source)
        except FruitsError as error:
            return dg.SkipReason(str(error))
        found = fingerprint(listed)
        if found == watch.done:
            return dg.SkipReason(f"{listed.files:,} files, none of them new")
        if found != watch.seen and watch.looks < PATIENCE:
            context.update_cursor(_cursor(Watch(watch.done, found, watch.looks + 1)))
            return dg.SkipReason(f"{listed.files:,} files; waits until no more come")
        request = dg.RunRequest(run_key=found, asset_selection=_to_make(storage))
        return dg.SensorResult([request], cursor=_cursor(Watch(done=found, seen=found)))

    return new_pictures


def fingerprint(listed: Source) -> str:
    """Changes when a file comes, goes or gets another size."""
    lines = "\n".join(f"{size} {path}" for path, size in sorted(listed.sizes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _to_make(storage: Location) -> list[dg.AssetKey]:
    """The pictures, and the model where there is none: without it nothing would follow."""
    model = Storage(storage).find("mobilenet_model")
    names = ["raw_images", "rejected_images", *([] if model else ["mobilenet_model"])]
    return [dg.AssetKey(name) for name in names]


def _cursor(watch: Watch) -> str:
    return json.dumps(asdict(watch))
