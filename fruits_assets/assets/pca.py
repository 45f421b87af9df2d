"""`pca_model` and `pca_components`: the features reduced to a few numbers."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from fruits_assets.assets._together import selected_outputs
from fruits_assets.io_managers import ParquetIOManager, PcaModelIOManager, Table
from fruits_assets.resources import Launcher
from spark_src.facts import joint_digest
from spark_src.pca import PcaModel
from spark_src.pca_spark import fit_version, transform
from spark_src.progress import Work


class PcaConfig(dg.Config):
    """How far to reduce, and how much has to be kept."""

    n_components: int = Field(50, ge=1, le=1280, description="How many components to keep.")
    min_explained_variance: float = Field(
        0.9, gt=0, le=1, description="The share of the variance that the check asks for."
    )


@dg.multi_asset(
    outs={
        "pca_model": dg.AssetOut(
            description="Mean, components and explained variance; a Spark ML PCAModel beside.",
            io_manager_key="pca_models",
            kinds={"pyspark", "numpy"},
            code_version="1",
            is_required=False,
        ),
        "pca_components": dg.AssetOut(
            description="Every image's features projected on the principal components.",
            io_manager_key="tables",
            kinds={"pyspark", "parquet"},
            code_version="1",
            is_required=False,
        ),
    },
    can_subset=True,
    group_name="fruits",
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
    spark, features = mobilenet_features.frame.sparkSession, mobilenet_features.version
    model = fit_version(spark, features, config.n_components, config.min_explained_variance)
    outputs = _outputs(mobilenet_features, model, started)
    selected = context.op_execution_context.selected_output_names
    if "pca_model" not in selected and pca_models.holds(model):
        next(outputs)  # the same model again: it keeps its version
    io_managers = {"pca_model": pca_models, "pca_components": tables}
    yield from selected_outputs(context, outputs, io_managers)


def _outputs(features: Table, model: PcaModel, started: float) -> Iterator[dg.Output[Any]]:
    seconds = round(time.monotonic() - started, 2)
    yield dg.Output(
        model,
        "pca_model",
        metadata={"seconds to fit": seconds},
        data_version=dg.DataVersion(model.digest),
    )
    rows = features.version.rows
    projected = transform(features.frame, model, rows)
    digest = joint_digest(features.version.facts["digest"], model.digest)
    facts = {"model": model.model, "n_components": model.n_components, "digest": digest}
    # From the fit's start: the components' seconds are what PCA took in all.
    work = Work(projected, rows, facts=facts, started=started)
    yield dg.Output(work, "pca_components", data_version=dg.DataVersion(digest))
