"""`pca_model` and `pca_components`: the features reduced to a few numbers."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from fruits_assets.io_managers import Table
from spark_src import pca as components
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
        ),
        "pca_components": dg.AssetOut(
            description="Every image's features projected on the principal components.",
            io_manager_key="tables",
            kinds={"pyspark", "parquet"},
            code_version="1",
        ),
    },
    group_name="fruits",
)
def pca(config: PcaConfig, mobilenet_features: Table) -> Iterator[dg.Output[Any]]:
    """Fit PCA on the training images and project every image."""
    started = time.monotonic()
    model = components.fit(
        mobilenet_features.frame, config.n_components, config.min_explained_variance
    )
    seconds = time.monotonic() - started
    yield dg.Output(model, "pca_model", metadata={"seconds to fit": round(seconds, 2)})

    rows = mobilenet_features.version.rows
    projected = components.transform(mobilenet_features.frame, model, rows)
    facts = {"model": model.model, "n_components": model.n_components}
    yield dg.Output(Work(projected, rows, facts=facts), "pca_components")
