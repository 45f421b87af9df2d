"""The Dagster job that erases a person's data, in three steps; what each does: spark_src/erasure.

Each step works on every request that is pending under the storage, so that running the job again
completes what was interrupted. The job takes no name: only who may write there makes a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets import materialization, metadata
from fruits_assets.assets.csv_export import csv_change, csv_export
from fruits_assets.assets.data_health import data_health, health_change
from fruits_assets.assets.embedding_quality import embedding_quality, quality_change
from fruits_assets.assets.fruit_classifier import classifier_change, fruit_classifier
from fruits_assets.assets.label_issues import label_issues, label_issues_change
from fruits_assets.assets.mobilenet_features import features_change, mobilenet_features
from fruits_assets.assets.pca import (
    components_change,
    pca_components,
    pca_model,
    pca_model_change,
)
from fruits_assets.assets.raw_images import ingest
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.resources import AssetStorage, InputFolder, Launcher
from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.purge import purge
from spark_src.erasure.rows import NOTE
from spark_src.errors import ErasureError, FruitsError, PcaError
from spark_src.pca.refit import FitSettings
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import PcaModelStatistics

JOB = "erase"
CODE_LOCATION = "fruits"
SOURCES = ("raw_images", "rejected_images")
OF_COMPONENTS = ("csv_export", "embedding_quality", "fruit_classifier", "label_issues")
OF_PCA = ("pca_components", "data_health", *OF_COMPONENTS)
ON_HOST = (
    (embedding_quality, quality_change),
    (data_health, health_change),
    (fruit_classifier, classifier_change),
    (label_issues, label_issues_change),
)
"""What is made on the host of the tables that are left, and how."""

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.op(out=dg.Out(dg.Nothing))
def erase_inputs(
    context: dg.OpExecutionContext, storage: AssetStorage, input_folder: InputFolder
) -> None:
    """Delete the pictures under the input, with all their versions."""
    require_no_run(context.instance)
    for request in requests.pending(storage.tables):
        try:
            removed = requests.erase_inputs(storage.tables, input_folder.root, request)
        except FruitsError as error:  # one request does not hold up another
            context.log.error(f"request {request.name}: {error}")
        else:
            context.log.info(f"request {request.name}: {removed:,} files and versions deleted")


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def erase_rows(
    context: dg.OpExecutionContext,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,  # noqa: ARG001 - takes the step to the cluster
    storage: AssetStorage,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Take the rows out of the tables of pictures; make the downstream assets anew."""
    tables = storage.tables
    for request in requests.pending(tables):
        if "inputs" not in request.done:
            continue
        removed = requests.erase_rows(
            lambda: pyspark.spark_session, tables, request, context.run_id
        )
        context.log.info(f"request {request.name}: rows deleted: {removed}")
    for asset in SOURCES:
        snapshot = tables.find(asset)
        if snapshot is not None:
            shown = materialization.version_metadata(snapshot)
            _report(context, ingest, asset, snapshot.statistics.digest, shown)
    Downstream(context, tables, delta, pyspark).make()


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def prove_erasure(
    context: dg.OpExecutionContext,
    storage: AssetStorage,
    input_folder: InputFolder,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Delete earlier versions and leftovers, look into every file, write the receipts."""
    require_no_run(context.instance)
    tables, failures = storage.tables, []
    _make_on_host(context, tables, delta)
    purged = purge(tables, context.run_id)
    context.log.info(f"{purged:,} files of no current version deleted")
    for request in requests.pending(tables):
        if "rows" not in request.done:
            continue
        try:
            receipt = proof.prove(tables, input_folder.root, request, purged)
        except ErasureError as error:
            failures.append(str(error))
        else:
            context.log.info(f"request {request.name}: receipt {receipt}")
    requests.require_all_done(tables, failures)


@dg.job(
    name=JOB,
    description="Erase the data of every request that `fruits erase` has made: pictures, and "
    "all that was made of them; then look into every file.",
)
def erase() -> None:
    """The host deletes files, the cluster rewrites tables, the host proves it."""
    prove_erasure(erase_rows(erase_inputs()))


def require_no_run(instance: dg.DagsterInstance) -> None:
    """Refuse to erase while a run may have read what is to go, and could write it again.

    Raises:
        ErasureError: a run of this code location, not of this job, is queued or in progress.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    found = [f"{run.run_id[:8]} ({run.status.value})" for run in runs if _may_write(run)]
    if found:
        raise ErasureError(
            f"Queued or in progress: {', '.join(found)}. What a run has read could come back. Wait "
            "until it has ended, or terminate it in Dagster's UI, and run `fruits erase` again. "
            "One whose process is dead stays in progress until the UI forces its termination, or "
            "`uv run dagster run delete RUN_ID` deletes its records."
        )


def _may_write(run: dg.DagsterRun) -> bool:
    """Whether a run of anything but this job belongs to this code location."""
    if run.job_name == JOB:
        return False
    if run.asset_selection:
        return any(key.to_user_string() in PREFIXES for key in run.asset_selection)
    origin = run.remote_job_origin
    return origin is None or origin.location_name == CODE_LOCATION


@dataclass(frozen=True)
class Downstream:
    """Makes the downstream assets of the pictures that are left, as far as they were ever made.

    Each asset gets a commit, also where nothing of it changes: a run that began before is refused.
    """

    context: dg.OpExecutionContext
    tables: Tables
    delta: DeltaIOManager
    pyspark: LazyPySparkResource

    def make(self) -> None:
        """Make all of it, in order."""
        model = self.tables.begin("mobilenet_model", self.context.run_id)
        if model.before is not None:
            model.commit(model.before.statistics, note=NOTE)
        if self._features() and self._pca_model() and self._components():
            self._csv()

    def _features(self) -> bool:
        if self.tables.find("mobilenet_features") is None:
            self._delete(("pca_model", *OF_PCA), "there are no features to make them of")
            return False
        inputs = (self.tables.current("raw_images"), self.tables.current("mobilenet_model"))
        write = self.tables.begin("mobilenet_features", self.context.run_id, inputs)
        change = features_change(write, *inputs, self.pyspark, self.context.log.info)
        self._store(mobilenet_features, change)
        return True

    def _pca_model(self) -> bool:
        before = self.tables.find("pca_model")
        if before is None:
            self._delete(OF_PCA, "there is no PCA model to make them with")
            return False
        known = before.typed(PcaModelStatistics)
        settings = FitSettings(known.asked, known.min_explained_variance, refit_share=1)
        features = self.tables.current("mobilenet_features")
        write = self.tables.begin("pca_model", self.context.run_id, [features])
        try:
            change = pca_model_change(
                write, features, settings, self.pyspark, self.context.log.info, erased=True
            )
        except PcaError as error:
            self._delete(("pca_model", *OF_PCA), str(error))
            return False
        self._store(pca_model, change)
        return True

    def _components(self) -> bool:
        if self.tables.find("pca_components") is None:
            self._delete(OF_COMPONENTS, "there are no components to make them of")
            return False
        inputs = (self.tables.current("mobilenet_features"), self.tables.current("pca_model"))
        write = self.tables.begin("pca_components", self.context.run_id, inputs)
        change = components_change(write, *inputs, self.pyspark, self.context.log.info)
        self._store(pca_components, change)
        return True

    def _csv(self) -> None:
        if self.tables.find("csv_export") is None:
            return
        components = self.tables.current("pca_components")
        write = self.tables.begin("csv_export", self.context.run_id, [components])
        self._store(csv_export, csv_change(write, components))

    def _delete(self, assets: Sequence[str], reason: str) -> None:
        """Delete what can't be made without the person's data."""
        for asset in assets:
            if self.tables.find(asset) is not None:
                self.context.log.warning(f"{asset} is deleted: {reason}")
                self.tables.delete(asset)

    def _store(self, assets_def: dg.AssetsDefinition, change: Change) -> None:
        _store(self.context, self.delta, assets_def, change)


def _make_on_host(context: dg.OpExecutionContext, tables: Tables, delta: DeltaIOManager) -> None:
    """Make what the host makes anew; where that cannot be done here, delete it."""
    for assets_def, make in ON_HOST:
        asset = assets_def.key.to_user_string()
        if tables.find(asset) is None:
            continue
        try:
            change, shown = make(tables, context.run_id)
        except ModuleNotFoundError as error:
            context.log.warning(f"{asset} is deleted: {error}")
            tables.delete(asset)
            continue
        _store(context, delta, assets_def, change, shown)


def _store(
    context: dg.OpExecutionContext,
    delta: DeltaIOManager,
    assets_def: dg.AssetsDefinition,
    change: Change,
    shown: metadata.Metadata | None = None,
) -> None:
    """Commit a change, and tell Dagster of the version as if the asset had been materialized."""
    asset, write = change.write.asset, change.write
    if change.is_empty and write.before is not None:
        write.commit(write.before.statistics, note=NOTE)
        return
    code_version = assets_def.specs_by_key[dg.AssetKey(asset)].code_version or ""
    change = replace(change, note=f"{NOTE}; {change.note}" if change.note else NOTE)
    stored = delta.store(change, context, code_version)
    _report(context, assets_def, asset, change.digest, {**(shown or {}), **stored})


def _report(
    context: dg.OpExecutionContext,
    assets_def: dg.AssetsDefinition,
    asset: str,
    digest: str,
    shown: metadata.Metadata,
) -> None:
    output = dg.Output(None, asset, data_version=dg.DataVersion(digest))
    context.log_event(materialization.event(context.instance, assets_def, output, shown, asset))
