"""`pca_model` and `pca_components`: the features reduced to a few numbers."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field
from pyspark.sql import SparkSession

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.assets._together import selected_outputs
from fruits_assets.automation import FOLLOWS
from fruits_assets.io_managers import ParquetIOManager, PcaModelIOManager, Table
from fruits_assets.resources import Launcher
from spark_src.pca.fit import Fit, fit_version, project_files
from spark_src.spark.progress import Work
from spark_src.storage import Version
from spark_src.tables.statistics import joint_digest


class PcaConfig(dg.Config):
    """How far to reduce, and how much has to be kept."""

    n_components: int = Field(50, ge=1, le=1280, description="How many components to keep.")
    min_explained_variance: float = Field(
        0.9, gt=0, le=1, description="The share of the variance that the check asks for."
    )
    refit: bool = Field(
        False, description="Sum up all images again, not only those that came or went."
    )


@dg.multi_asset(
    outs={
        "pca_model": dg.AssetOut(
            description="PCA fitted on the features of the split `Training`, or of all images "
            "where there is none: mean, components, explained variance. Centred and not "
            "standardised. A Spark ML PCAModel lies beside it.",
            io_manager_key="pca_models",
            owners=OWNERS,
            tags=tags("pca", "spark", "derived"),
            kinds={"pyspark", "numpy"},
            code_version="1",
            automation_condition=FOLLOWS,
            is_required=False,
        ),
        "pca_components": dg.AssetOut(
            description="`n_components` numbers (50) for each image of every split: its features, "
            "less the mean, projected on the components of `pca_model`.",
            io_manager_key="tables",
            owners=OWNERS,
            tags=tags("pca", "spark", "derived"),
            kinds={"pyspark", "parquet"},
            code_version="1",
            automation_condition=FOLLOWS,
            is_required=False,
        ),
    },
    can_subset=True,
    group_name=GROUP,
)
def pca(
    context: dg.AssetExecutionContext,
    config: PcaConfig,
    step_launcher: Launcher,
    mobilenet_features: Table,
    pca_models: dg.ResourceParam[PcaModelIOManager],
    tables: dg.ResourceParam[ParquetIOManager],
) -> Iterator[dg.Output[Any]]:
    """Fit PCA on the training images and project every image."""
    started = time.monotonic()
    features, spark = mobilenet_features.version, mobilenet_features.frame.sparkSession
    earlier = None if config.refit else pca_models.earlier()
    asked = (config.n_components, config.min_explained_variance)
    fit = fit_version(spark, features, *asked, earlier)
    context.log.info(f"PCA fitted on {fit.model.images:,} images: {fit.how}")
    outputs = pca_outputs(spark, features, fit, started)
    selected = context.op_execution_context.selected_output_names
    if "pca_model" not in selected and pca_models.holds(fit):
        next(outputs)  # the same model again: it keeps its version
    io_managers = {"pca_model": pca_models, "pca_components": tables}
    yield from selected_outputs(context, outputs, io_managers)


def pca_outputs(
    spark: SparkSession, features: Version, fit: Fit, started: float
) -> Iterator[dg.Output[Any]]:
    """The model of a fit, then every image's components, to be computed when they are stored."""
    seconds, model = round(time.monotonic() - started, 2), fit.model
    yield dg.Output(
        fit,
        "pca_model",
        metadata={"seconds to fit": seconds, "sums": fit.how},
        data_version=dg.DataVersion(model.digest),
    )
    digest = joint_digest(features.facts["digest"], model.digest)
    facts = {"model": model.model, "n_components": model.n_components, "digest": digest}
    project = partial(project_files, spark, features, model)
    # From the fit's start: the components' seconds are what PCA took in all.
    work = Work(project, features.rows, facts=facts, started=started)
    yield dg.Output(work, "pca_components", data_version=dg.DataVersion(digest))
