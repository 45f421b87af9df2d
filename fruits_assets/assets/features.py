"""`mobilenet_features`: 1,280 numbers for every picture."""

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets.io_managers import Table
from fruits_assets.resources import Launcher
from spark_src.facts import joint_digest
from spark_src.featurize import featurize
from spark_src.model import MobilenetModel
from spark_src.pixels import PIXELS
from spark_src.progress import Work


@dg.asset(
    io_manager_key="tables",
    group_name="fruits",
    kinds={"pyspark", "parquet"},
    code_version=PIXELS,
    pool="features",  # a team's host runs one at a time: infra/host/dagster.yaml
)
def mobilenet_features(
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    raw_images: Table,
    mobilenet_model: MobilenetModel,
) -> dg.Output[Work]:
    """MobileNetV2's features of every picture, computed where the pictures are."""
    spark = pyspark.spark_context
    done = spark.accumulator(0)
    model = spark.broadcast(mobilenet_model.content)
    images, sha256 = raw_images.version, mobilenet_model.sha256
    features = featurize(raw_images.frame, model, sha256, images.rows, done)
    digest = joint_digest(images.facts["digest"], sha256, PIXELS)
    facts = {"model": sha256, "pixels": PIXELS, "digest": digest}
    return dg.Output(Work(features, images.rows, done, facts), data_version=dg.DataVersion(digest))
