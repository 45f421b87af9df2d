"""The Dagster job that forgets a person's pictures, in three steps; what each does: spark_src.

Each step works on every request that is pending under the storage, so that running the job again
completes what was interrupted.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession
from spark_src.storage import Storage

from fruits_assets.assets import csv_export, ingest, mobilenet_features, pca
from fruits_assets.assets._together import materialization
from fruits_assets.assets.export import csv_output
from fruits_assets.assets.features import features_output
from fruits_assets.assets.pca import pca_outputs
from fruits_assets.io_managers import (
    CsvIOManager,
    MobilenetModelIOManager,
    ParquetIOManager,
    PcaModelIOManager,
)
from fruits_assets.resources import AssetStorage, Launcher
from spark_src.erasure import requests as erasure_requests
from spark_src.erasure.rows import SOURCES, Target
from spark_src.errors import PcaError
from spark_src.features import incremental
from spark_src.io.locations import Location
from spark_src.io.residency import require_in_region
from spark_src.pca.fit import fit_version

JOB = "erase"
DERIVED = ("pca_model", "pca_components", "csv_export")


class EraseConfig(dg.Config):
    """Whose pictures; with nothing named, only what is pending is completed."""

    subject: str | None = Field(None, description="The person's folder under photos/.")
    image_ids: list[str] = Field([], description="Single pictures, by their image_id.")


def job(source: Location, region: str) -> dg.JobDefinition:
    """The job for an input: the host deletes files, the cluster rewrites tables, the host looks.

    Args:
        source: the input; it may be empty, or be so afterwards.
        region: that its bucket has to be in.
    """

    @dg.op(out=dg.Out(dg.Nothing))
    def erase_inputs(
        context: dg.OpExecutionContext, config: EraseConfig, storage: AssetStorage
    ) -> None:
        """Note the request, then delete the pictures under the input, with all their versions."""
        require_in_region([source], region)
        if config.subject or config.image_ids:
            target = Target.of(config.subject, config.image_ids)
            erasure_requests.add(storage.versions, source, target)
        for request in erasure_requests.pending(storage.versions):
            removed = erasure_requests.erase_inputs(storage.versions, source, request)
            context.log.info(f"request {request.name}: {removed:,} files and versions deleted")

    @dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def erase_rows(  # noqa: PLR0913, PLR0917 - what it makes, it stores
        context: dg.OpExecutionContext,
        pyspark: LazyPySparkResource,
        step_launcher: Launcher,  # noqa: ARG001 - takes the step to the cluster
        storage: AssetStorage,
        tables: dg.ResourceParam[ParquetIOManager],
        models: dg.ResourceParam[MobilenetModelIOManager],
        pca_models: dg.ResourceParam[PcaModelIOManager],
        csv_files: dg.ResourceParam[CsvIOManager],
    ) -> None:
        """Take the rows out of the tables of pictures; make what follows from what is left."""
        spark, versions = pyspark.spark_session, storage.versions
        for request in erasure_requests.pending(versions):
            rows = erasure_requests.erase_rows(spark, versions, request)
            context.log.info(f"request {request.name}: rows deleted: {rows}")
        _report_sources(context, versions)
        managers = {"pca_model": pca_models, "csv_export": csv_files}
        made = _derived(context, spark, versions, models, pca_models, tables)
        for asset, assets_def, output in made:
            manager = managers.get(asset, tables)
            stored = manager.store(output.value, asset, context.run_id, context.log.info)
            context.log_event(materialization(context.instance, assets_def, output, stored, asset))

    @dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def prove_erasure(context: dg.OpExecutionContext, storage: AssetStorage) -> None:
        """Delete earlier versions and leftovers, look into every file, write the receipts."""
        for request in erasure_requests.pending(storage.versions):
            receipt = erasure_requests.prove(storage.versions, source, request)
            context.log.info(f"request {request.name}: receipt {receipt}")

    @dg.job(
        name=JOB,
        description="Forget a person's pictures, and all that was made of them; then prove it.",
    )
    def erase() -> None:
        prove_erasure(erase_rows(erase_inputs()))

    return erase


Made = Iterator[tuple[str, dg.AssetsDefinition, dg.Output[Any]]]


def _derived(  # noqa: PLR0913, PLR0917
    context: dg.OpExecutionContext,
    spark: SparkSession,
    versions: Storage,
    models: MobilenetModelIOManager,
    pca_models: PcaModelIOManager,
    tables: ParquetIOManager,
) -> Made:
    """What follows from the pictures that are left, as far as it was ever made; stored in turn."""
    if versions.find("mobilenet_features") is None:
        return
    images = versions.current("raw_images")
    model = models.read(versions.current("mobilenet_model"))
    plan = incremental.plan(versions, images, model.sha256)
    yield "mobilenet_features", mobilenet_features, features_output(spark, plan, model)
    before = versions.find("pca_model")
    if before is None:
        return
    features, started = versions.current("mobilenet_features"), time.monotonic()
    asked = before.facts["n_components"], before.facts["min_explained_variance"]
    try:
        fit = fit_version(spark, features, *asked, pca_models.earlier())
    except PcaError as error:
        context.log.warning(f"{error} PCA and what follows are deleted instead.")
        for asset in DERIVED:
            versions.forget(asset)
        return
    for output in pca_outputs(spark, features, fit, started):
        yield output.output_name, pca, output
    if versions.find("csv_export") is not None:
        yield "csv_export", csv_export, csv_output(tables.read(versions.current("pca_components")))


def _report_sources(context: dg.OpExecutionContext, versions: Storage) -> None:
    """Tell Dagster that the tables of pictures are other ones now."""
    for asset in SOURCES:
        version = versions.find(asset)
        if version is not None:
            output: dg.Output[Mapping[str, Any]] = dg.Output(
                {}, asset, data_version=dg.DataVersion(version.facts.get("digest", version.name))
            )
            rows = {"dagster/row_count": version.rows}
            context.log_event(materialization(context.instance, ingest, output, rows, asset))
