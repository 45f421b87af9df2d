"""`mobilenet_model`: the LiteRT file that workers and phones run. Built on the host."""

import time
from collections.abc import Callable
from functools import partial

import dagster as dg

from fruits_assets import catalog
from fruits_assets.resources import AssetStorage
from fruits_assets.settings import IMAGENET_WEIGHTS
from spark_src.features import files
from spark_src.features.model import bundled, convert, converter, weights_sha256
from spark_src.io.locations import Location
from spark_src.tables.change import Change
from spark_src.tables.delta import TableWrite
from spark_src.tables.registry import MOBILENET_MODEL


@catalog.MOBILENET_MODEL.asset()
def mobilenet_model(
    context: dg.AssetExecutionContext, storage: AssetStorage, weights: dg.ResourceParam[Location]
) -> dg.MaterializeResult[Change]:
    """MobileNetV2 without its top as one LiteRT file, which workers and phones run.

    Converted from the Keras weights set by FRUITS_WEIGHTS and compared with Keras. The file is
    reused as long as weights and converter are unchanged.
    """
    write = storage.tables.begin(MOBILENET_MODEL, context.run.run_id)
    change = model_change(write, weights, partial(_require_no_failure, context))
    version = dg.DataVersion(change.digest)
    return dg.MaterializeResult(
        value=change, data_version=version, metadata={"weights": str(weights)}
    )


def _require_no_failure(context: dg.AssetExecutionContext) -> None:
    """Refuse to spend 11 s on the conversion in a run that has already failed."""
    failed = context.instance.get_records_for_run(
        context.run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1
    )
    if failed.records:
        raise dg.Failure(
            "The weights were not converted because another asset of this run failed. Fix that "
            "and start the run again.",
            allow_retries=False,
        )


def model_change(
    write: TableWrite, weights: Location, before_converting: Callable[[], None] = lambda: None
) -> Change:
    """The converted model, unless the current one was built from the same weights."""
    started = time.monotonic()
    if files.is_unchanged(write.before, weights_sha256(weights), converter()):
        return Change.none(write)
    # The default model is bundled: converting it would cost every new user 11 s of TensorFlow.
    model = bundled(IMAGENET_WEIGHTS.parent, weights)
    if model is None:
        before_converting()
        model = convert(weights)
    name = files.save(model, write.location)
    return Change(write, files.statistics(model, converter(), name), started=started)
