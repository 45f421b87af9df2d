"""`mobilenet_model`: the one file that workers and phones run, made on the host."""

import time
from collections.abc import Callable
from functools import partial

import dagster as dg

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.failures import one_sentence
from fruits_assets.resources import AssetStorage, ModelWeights
from fruits_assets.settings import IMAGENET_WEIGHTS
from spark_src.features import files
from spark_src.features.model import bundled, convert, converter, weights_sha256
from spark_src.tables.change import Change
from spark_src.tables.delta import TableWrite
from spark_src.tables.statistics import MobilenetModelStatistics


@dg.asset(
    config_schema={},  # else Dagster ignores what is set for it
    io_manager_key="delta",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("model", "host", "none"),
    kinds={"tensorflow", "tflite"},
    code_version="1",
)
@one_sentence
def mobilenet_model(
    context: dg.AssetExecutionContext, storage: AssetStorage, weights: ModelWeights
) -> dg.Output[Change]:
    """MobileNetV2 without its top as one LiteRT file, which workers and phones run.

    Converted from the Keras weights that FRUITS_WEIGHTS names, and compared with Keras. The file is
    kept while weights and converter are the same.
    """
    write = storage.tables.begin("mobilenet_model", context.run_id)
    change = model_change(write, weights, partial(_require_no_failure, context))
    statistics = change.statistics or (write.before and write.before.statistics)
    known = MobilenetModelStatistics.model_validate(statistics, from_attributes=True)
    return dg.Output(
        change,
        data_version=dg.DataVersion(known.sha256),
        metadata={
            "model sha256": known.sha256,
            "weights": str(weights.location),
            "weights sha256": known.weights_sha256,
            "converter": known.converter,
            "greatest difference to Keras": round(known.greatest_difference, 6),
        },
    )


def _require_no_failure(context: dg.AssetExecutionContext) -> None:
    """Converting takes 11 s: not for a run that has failed."""
    failed = context.instance.get_records_for_run(
        context.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1
    )
    if failed.records:
        raise dg.Failure(
            "The weights were not converted, because another asset of this run failed: mend that, "
            "and start the run again.",
            allow_retries=False,
        )


def model_change(
    write: TableWrite, weights: ModelWeights, before_converting: Callable[[], None] = lambda: None
) -> Change:
    """The converted model, unless the one that is there was made of the same."""
    started = time.monotonic()
    if files.is_unchanged(write.before, weights_sha256(weights.location), converter()):
        return Change.none(write)
    # Eleven seconds of TensorFlow for what everybody who starts would make: it comes along.
    model = bundled(IMAGENET_WEIGHTS.parent, weights.location)
    if model is None:
        before_converting()
        model = convert(weights.location)
    name = files.save(model, write.location)
    return Change(write, files.statistics(model, converter(), name), started=started)
