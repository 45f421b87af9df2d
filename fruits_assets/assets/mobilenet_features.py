"""`mobilenet_features`: 1,280 numbers for every picture."""

import time
from functools import partial

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.resources import AssetStorage, Launcher, count_cores, picture_counter
from spark_src.features import files
from spark_src.features.incremental import audit, clear_staged, compute, statistics
from spark_src.features.plan import plan_features
from spark_src.spark.progress import Log, report_progress
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.registry import MOBILENET_FEATURES
from spark_src.tables.statistics import MobilenetModelStatistics


class FeaturesConfig(AssetConfig):
    """Whether stored features are reused."""

    recompute: bool = Field(
        False, description="Compute the features of every picture, including those already stored."
    )


@catalog.MOBILENET_FEATURES.asset(
    pool="features",  # a shared host runs one at a time: infra/host/dagster.yaml
)
def mobilenet_features(
    context: dg.AssetExecutionContext,
    config: FeaturesConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    raw_images: Snapshot,
    mobilenet_model: Snapshot,
) -> dg.MaterializeResult[Change]:
    """The 1,280 MobileNetV2 features of each picture.

    Only new pictures are computed; features of the same model are reused.
    """
    inputs = (raw_images, mobilenet_model)
    write = storage.tables.begin(MOBILENET_FEATURES, context.run.run_id, inputs)
    change = features_change(write, *inputs, pyspark, context.log.info, config.recompute)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def features_change(
    write: TableWrite,
    images: Snapshot,
    model: Snapshot,
    pyspark: LazyPySparkResource,
    log: Log,
    recompute: bool = False,
) -> Change:
    """Compute and audit the missing features."""
    started = time.monotonic()
    model_sha256 = model.typed(MobilenetModelStatistics).sha256
    plan = plan_features(write, images, model_sha256, recompute)
    log(str(plan))
    if plan.is_empty and write.before is not None:
        return Change.none(write)
    with report_progress(plan.n_computed, log) as progress:
        counter = lambda: progress.counts(picture_counter(pyspark))  # noqa: E731
        session = lambda: pyspark.spark_session  # noqa: E731
        new = compute(session, plan, files.load(model), write.folder, counter)
    vectors = audit(session, plan, new, write)
    found = statistics(plan, vectors)
    found = found.model_copy(update={"progress": progress.recorded})
    return Change(
        write,
        found,
        (*plan.adopted, *new),
        tuple(file.name for file in plan.removed),
        images=plan.n_computed,
        cores=count_cores(pyspark),
        started=started,
        cleanup=partial(clear_staged, write),
    )
