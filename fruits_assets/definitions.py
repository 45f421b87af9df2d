"""The Dagster definitions. `build_defs` assembles them; tests override its resources."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets import assets, automation, erasure_job
from fruits_assets.assets.input_pictures import input_pictures
from fruits_assets.checks import CHECK_JOB, CHECKS
from fruits_assets.emr.step import is_remote
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.resources import (
    AssetStorage,
    CandidateStorage,
    ClusterSpark,
    InputFolder,
    LocalSpark,
    ModelWeights,
    PcaDefaults,
    PictureSource,
    Residency,
)
from fruits_assets.settings import Deployment, Settings, load_settings
from spark_src.contract import PREFIXES
from spark_src.errors import SettingsError
from spark_src.io.aws import use_region
from spark_src.io.locations import Location
from spark_src.spark.session import cluster_config, local_config, s3_config

# Data versions are in beta. The lock file pins Dagster, and users cannot act on the warning.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
# Step launchers are superseded by Pipes, which does not support IO managers.
warnings.filterwarnings("ignore", category=dg.SupersessionWarning)


def resources(settings: Settings, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The resources for these settings; `overrides` replace some of them by key.

    The region is set for the process, and all resources use that.
    """
    use_region(settings.region)
    input_uri, storage_uri = settings.input_location.uri, settings.storage_location.uri
    weights_uri, queue = settings.weights_location.uri, settings.input_queue
    storage = AssetStorage(root=storage_uri, show_photos=settings.show_photos)
    others = [settings.candidate_uri] if settings.candidate_uri else []
    found: dict[str, Any] = {
        "pyspark": _spark(settings),
        "step_launcher": _launcher(settings),
        "storage": storage,
        "candidate": CandidateStorage(root=settings.candidate_uri),
        "source": PictureSource(uri=input_uri, queue_url=queue, max_side=settings.max_side),
        "weights": ModelWeights(uri=weights_uri),
        "pca_defaults": PcaDefaults(n_components=settings.components),
        "residency": Residency(uris=[storage_uri, input_uri, weights_uri, *others]),
        "delta": DeltaIOManager(storage=storage),
    }
    found |= overrides or {}
    # The same folder, but allowed to be empty, for the sensor and the erase job.
    source = found["source"]
    found.setdefault("input_folder", InputFolder(uri=source.uri, queue_url=source.queue_url))
    return found


def _spark(settings: Settings) -> LazyPySparkResource:
    if settings.deployment is Deployment.EMR:
        return ClusterSpark(spark_config=cluster_config())
    in_s3 = "s3" in {settings.input_location.scheme, settings.storage_location.scheme}
    config = local_config() | (s3_config() if in_s3 else {})
    return LocalSpark(spark_config=config, scratch=str(settings.scratch))


def _launcher(settings: Settings) -> dg.ResourceDefinition:
    """The launcher that runs steps on the cluster; none in local mode and on the cluster."""
    if settings.deployment is not Deployment.EMR or is_remote():
        return dg.ResourceDefinition.none_resource()
    from fruits_assets.emr.launcher import FruitsStepLauncher, Polling, launched_spark_config

    launcher = FruitsStepLauncher(
        cluster_name=settings.cluster,
        region=settings.region,
        storage=settings.storage_location,
        settings=settings.variables,
        spark_config=launched_spark_config(cluster_config(), settings.region),
        polling=Polling(longest_seconds=settings.poll_seconds),
    )
    return dg.ResourceDefinition.hardcoded_resource(launcher)


def _with_location(asset: dg.AssetsDefinition, storage: Location) -> dg.AssetsDefinition:
    """The asset with its location and a link to its source code.

    `dg.with_source_code_references` would link to the file of the outermost decorator.
    """
    body = inspect.unwrap(asset.op.compute_fn.decorated_fn)  # type: ignore[union-attr]
    file, line = inspect.getsourcefile(body) or "", inspect.getsourcelines(body)[1]
    reference = dg.LocalFileCodeReference(file_path=file, line_number=line)
    link = dg.CodeReferencesMetadataValue(code_references=[reference])

    def add(spec: dg.AssetSpec) -> dg.AssetSpec:
        uri = (storage / PREFIXES[spec.key.to_user_string()]).uri
        return spec.merge_attributes(metadata={"dagster/uri": uri, "dagster/code_references": link})

    return asset.map_asset_specs(add)


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The definitions for these settings (by default those of the environment)."""
    settings = settings or load_settings()
    found = dg.load_assets_from_package_module(assets)
    return dg.Definitions(
        assets=[
            input_pictures(settings.input_location),
            *(
                _with_location(asset, settings.storage_location)
                for asset in found
                if isinstance(asset, dg.AssetsDefinition)
            ),
        ],
        asset_checks=CHECKS,
        jobs=[CHECK_JOB, erasure_job.erase],
        sensors=[automation.new_pictures, automation.refresh_downstream],
        resources=resources(settings, resource_overrides),
        # One process per run with one Spark session; Spark distributes the work.
        executor=dg.in_process_executor,
    )


def _defs() -> dg.Definitions:
    """The definitions for the environment.

    `dagster asset …` and `dagster job …` report an invalid setting without a traceback.
    """
    try:
        return build_defs()
    except SettingsError as error:
        program, *words = [Path(word).name for word in sys.argv[:2]]
        if program == "dagster" and words and words[0] in ("asset", "job"):
            raise click.ClickException(str(error)) from None
        raise


defs = _defs()
