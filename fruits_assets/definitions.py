"""The Dagster definitions. `build_defs` assembles them; tests call it with their own resources."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fruits_assets.assets import ASSETS
from fruits_assets.checks import CHECKS
from fruits_assets.io_managers import (
    CsvIOManager,
    MobilenetModelIOManager,
    ParquetIOManager,
    PcaModelIOManager,
)
from fruits_assets.resources import AssetStorage, LocalSpark, ModelWeights, PictureSource
from fruits_assets.settings import Deployment, Settings, load_settings
from spark_src.errors import SettingsError
from spark_src.session import local_config

# The lock file pins what is in beta (data versions); nobody who reads a run's log can act on it.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

CHECK_JOB = "asset_checks"


def resources(settings: Settings) -> dict[str, Any]:
    """The resources that the settings ask for.

    Raises:
        SettingsError: the deployment is not there yet.
    """
    if settings.deployment is not Deployment.LOCAL:
        raise SettingsError(
            f"FRUITS_DEPLOYMENT={settings.deployment}: this version runs on one machine only. "
            "Unset it, or set it to local."
        )
    pyspark = LocalSpark(spark_config=local_config())
    storage = AssetStorage(root=settings.storage_location.uri)
    return {
        "pyspark": pyspark,
        "storage": storage,
        "source": PictureSource(uri=settings.input_location.uri),
        "weights": ModelWeights(uri=settings.weights_location.uri),
        "tables": ParquetIOManager(storage=storage, spark=pyspark),
        "models": MobilenetModelIOManager(storage=storage, spark=pyspark),
        "pca_models": PcaModelIOManager(storage=storage, spark=pyspark),
        "csv_files": CsvIOManager(storage=storage, spark=pyspark),
    }


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The whole graph for these settings (the environment's by default)."""
    settings = settings or load_settings()
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=[dg.define_asset_job(CHECK_JOB, selection=dg.AssetSelection.all_asset_checks())],
        resources=resources(settings) | dict(resource_overrides or {}),
        # One process a run: it has one Spark, which is what spreads the work.
        executor=dg.in_process_executor,
    )


defs = build_defs()
