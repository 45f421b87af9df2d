"""`mobilenet_features`: 1,280 numbers for every picture."""

from functools import partial

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession

from fruits_assets.io_managers import Table
from fruits_assets.resources import AssetStorage, Launcher
from spark_src import incremental
from spark_src.facts import joint_digest
from spark_src.model import MobilenetModel
from spark_src.pixels import PIXELS
from spark_src.progress import Work
from spark_src.storage import Storage, Version


class FeaturesConfig(dg.Config):
    """Whether what is known already is made use of."""

    recompute: bool = Field(
        False, description="Featurize every picture, also those whose features are known."
    )


@dg.asset(
    io_manager_key="tables",
    group_name="fruits",
    kinds={"pyspark", "parquet"},
    code_version=PIXELS,
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
    """MobileNetV2's features of every picture; those of pictures that are known are taken over."""
    output = features_output(
        pyspark.spark_session,
        storage.versions,
        raw_images.version,
        mobilenet_model,
        recompute=config.recompute,
    )
    context.log.info(output.metadata["plan"].text)
    return output


def features_output(
    spark: SparkSession,
    versions: Storage,
    images: Version,
    model: MobilenetModel,
    recompute: bool = False,
) -> dg.Output[Work]:
    """The features of a version of `raw_images`, to be computed when they are stored."""
    plan = incremental.plan(versions, images, model.sha256, recompute)
    done = spark.sparkContext.accumulator(0)
    digest = joint_digest(images.facts["digest"], model.sha256, PIXELS)
    facts = {"model": model.sha256, "pixels": PIXELS, "digest": digest, **plan.facts}
    write = partial(incremental.make, spark, plan, model, done=done)
    work = Work(write, len(plan.missing), done, facts, cleanup=plan.forget_parts)
    metadata = {**plan.facts, "plan": dg.MetadataValue.text(str(plan))}
    return dg.Output(work, metadata=metadata, data_version=dg.DataVersion(digest))
