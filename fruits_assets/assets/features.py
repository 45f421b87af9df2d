"""`mobilenet_features`: 1,280 numbers for every picture."""

from functools import partial

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import FOLLOWS
from fruits_assets.io_managers import Table
from fruits_assets.resources import AssetStorage, Launcher
from spark_src.features import incremental
from spark_src.features.incremental import Plan
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import PIXELS
from spark_src.spark.progress import Work
from spark_src.tables.statistics import joint_digest


class FeaturesConfig(dg.Config):
    """Whether what is known already is made use of."""

    recompute: bool = Field(
        False, description="Featurize every picture, also those whose features are known."
    )


@dg.asset(
    io_manager_key="tables",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("features", "spark", "derived"),
    kinds={"pyspark", "parquet"},
    code_version=PIXELS,
    automation_condition=FOLLOWS,
    pool="features",  # a team's host runs one at a time: infra/host/dagster.yaml
)
def mobilenet_features(
    context: dg.AssetExecutionContext,
    config: FeaturesConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    raw_images: Table,
    mobilenet_model: MobilenetModel,
) -> dg.Output[Work]:
    """1,280 numbers for each picture: what MobileNetV2 makes of it.

    Only new pictures are computed; those known to the same model keep their numbers.
    """
    versions, images = storage.versions, raw_images.version
    plan = incremental.plan(versions, images, mobilenet_model.sha256, config.recompute)
    context.log.info(str(plan))
    return features_output(pyspark.spark_session, plan, mobilenet_model)


def features_output(spark: SparkSession, plan: Plan, model: MobilenetModel) -> dg.Output[Work]:
    """The features that were planned, to be computed when they are stored."""
    done = spark.sparkContext.accumulator(0)
    digest = joint_digest(plan.images.facts["digest"], model.sha256, PIXELS)
    facts = {"model": model.sha256, "pixels": PIXELS, "digest": digest, **plan.facts}
    write = partial(incremental.make, spark, plan, model, done=done)
    work = Work(write, len(plan.missing), done, facts, cleanup=plan.forget_parts)
    metadata = {
        "pictures featurized": plan.facts["featurized"],
        "images carried over": plan.facts["carried_over"],
        "images of an interrupted run": plan.facts["resumed"],
    }
    return dg.Output(work, metadata=metadata, data_version=dg.DataVersion(digest))
