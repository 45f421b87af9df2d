"""`pca_model` and `pca_components`: the features, reduced by PCA."""

import time

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.resources import (
    AssetStorage,
    Launcher,
    PcaDefaults,
    count_cores,
    picture_counter,
)
from spark_src.pca import fit, project
from spark_src.pca.refit import REFIT_SHARE, FitSettings
from spark_src.spark.progress import Log, report_progress
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.registry import PCA_COMPONENTS, PCA_MODEL
from spark_src.tables.vectors import FEATURES


class PcaConfig(AssetConfig):
    """Number of components, required variance, and when to refit."""

    n_components: int | None = Field(
        None,
        ge=1,
        le=FEATURES,
        description="How many components to keep. n images allow at most n - 1. By default, "
        "FRUITS_COMPONENTS (50).",
    )
    min_explained_variance: float = Field(
        0.9, gt=0, le=1, description="The share of the variance that the check requires."
    )
    refit: bool = Field(
        False, description="Refit unconditionally, on sums recomputed from all images."
    )
    refit_share: float = Field(
        REFIT_SHARE,
        gt=0,
        le=1,
        description="Refit when more than this share of the training images is new.",
    )


@catalog.PCA_MODEL.asset()
def pca_model(
    context: dg.AssetExecutionContext,
    config: PcaConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    pca_defaults: PcaDefaults,
    mobilenet_features: Snapshot,
) -> dg.MaterializeResult[Change]:
    """PCA fitted on the features of the split `Training`, or of all images if there is none.

    Mean, components and explained variance; centred, not standardised. New pictures update the
    sums. Because a refit changes every number, it happens only by the rules of
    `spark_src/pca/refit.py`, for example if k changes or more than a tenth of the pictures is new.
    A Spark ML PCAModel is stored with it.
    """
    write = storage.tables.begin(PCA_MODEL, context.run.run_id, [mobilenet_features])
    settings = FitSettings(
        config.n_components or pca_defaults.n_components,
        config.min_explained_variance,
        config.refit,
        config.refit_share,
    )
    change = pca_model_change(write, mobilenet_features, settings, pyspark, context.log.info)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


@catalog.PCA_COMPONENTS.asset()
def pca_components(
    context: dg.AssetExecutionContext,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    mobilenet_features: Snapshot,
    pca_model: Snapshot,
) -> dg.MaterializeResult[Change]:
    """`n_components` (50) numbers for each image of every split.

    The image's features minus the mean, projected on the components of `pca_model`. Rows of the
    same model are reused.
    """
    inputs = (mobilenet_features, pca_model)
    write = storage.tables.begin(PCA_COMPONENTS, context.run.run_id, inputs)
    change = components_change(write, *inputs, pyspark, context.log.info)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def pca_model_change(
    write: TableWrite,
    features: Snapshot,
    settings: FitSettings,
    pyspark: LazyPySparkResource,
    log: Log,
    erased: bool = False,
) -> Change:
    """The model, refitted or kept, with the sums of the current images."""
    started, session = time.monotonic(), lambda: pyspark.spark_session
    if fit.is_unchanged(write.before, features, settings):
        return Change.none(write)
    found = fit.fit_or_keep(session, features, write.before, settings, erased)
    log(f"PCA: {found.description}")
    sums = fit.save(session, found, write, features)
    statistics = fit.statistics(found, sums, write.before, settings)
    new, gone = found.update.new_images, found.update.n_removed
    images = statistics.n_images_today if new is None else new.num_rows + (gone or 0)
    note = found.description
    return Change(write, statistics, (), (), note, images, count_cores(pyspark), started)


def components_change(
    write: TableWrite, features: Snapshot, model: Snapshot, pyspark: LazyPySparkResource, log: Log
) -> Change:
    """Project and audit the missing components."""
    started = time.monotonic()
    plan = project.plan_projection(features, model.statistics.digest, write.before)
    if plan.is_empty and write.before is not None:
        return Change.none(write)
    pca = fit.load_current(model)
    with report_progress(plan.n_missing, log) as progress:
        counter = lambda: progress.counts(picture_counter(pyspark))  # noqa: E731
        session = lambda: pyspark.spark_session  # noqa: E731
        new, vectors = project.project(session, plan, pca, write.folder, counter)
    statistics = project.statistics(plan, pca, write.before, vectors)
    gone = tuple(file.name for file in plan.removed)
    cores = count_cores(pyspark)
    return Change(write, statistics, tuple(new), gone, "", plan.n_missing, cores, started)
