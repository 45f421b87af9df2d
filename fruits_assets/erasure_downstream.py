"""Rebuild the downstream assets from the remaining pictures in the job `erase` (erasure_job.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets import materialization
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
from fruits_assets.metadata import Metadata
from spark_src.erasure.rows import NOTE
from spark_src.errors import PcaError
from spark_src.pca.refit import FitSettings
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.registry import (
    CSV_EXPORT,
    DATA_HEALTH,
    EMBEDDING_QUALITY,
    FRUIT_CLASSIFIER,
    LABEL_ISSUES,
    MOBILENET_FEATURES,
    MOBILENET_MODEL,
    PCA_COMPONENTS,
    PCA_MODEL,
    RAW_IMAGES,
    REJECTED_IMAGES,
)
from spark_src.tables.statistics import PcaModelStatistics

SOURCES = (RAW_IMAGES, REJECTED_IMAGES)
NEED_COMPONENTS = (CSV_EXPORT, EMBEDDING_QUALITY, FRUIT_CLASSIFIER, LABEL_ISSUES)
NEED_PCA = (PCA_COMPONENTS, DATA_HEALTH, *NEED_COMPONENTS)
BUILT_ON_HOST = (
    (embedding_quality, quality_change),
    (data_health, health_change),
    (fruit_classifier, classifier_change),
    (label_issues, label_issues_change),
)
"""Assets that are built on the host, with the functions that build them."""


def report_sources(context: dg.OpExecutionContext, tables: Tables) -> None:
    """Report the versions without the person's rows to Dagster."""
    for asset in SOURCES:
        snapshot = tables.find(asset)
        if snapshot is not None:
            shown = materialization.version_metadata(snapshot)
            _report(context, ingest, asset, snapshot.statistics.digest, shown)


@dataclass(frozen=True)
class Downstream:
    """Rebuilds the downstream assets that exist from the remaining pictures.

    Each asset gets a commit even if nothing changes, so that runs started earlier are refused.
    """

    context: dg.OpExecutionContext
    tables: Tables
    delta: DeltaIOManager
    pyspark: LazyPySparkResource

    def rebuild(self) -> None:
        """Rebuild all assets in order."""
        model = self.tables.begin(MOBILENET_MODEL, self.context.run_id)
        if model.before is not None:
            model.commit(model.before.statistics, note=NOTE)
        if self._features() and self._pca_model() and self._components():
            self._csv()

    def _features(self) -> bool:
        if self.tables.find(MOBILENET_FEATURES) is None:
            self._delete((PCA_MODEL, *NEED_PCA), "there are no features")
            return False
        inputs = (self.tables.current(RAW_IMAGES), self.tables.current(MOBILENET_MODEL))
        write = self.tables.begin(MOBILENET_FEATURES, self.context.run_id, inputs)
        change = features_change(write, *inputs, self.pyspark, self.context.log.info)
        self._store(mobilenet_features, change)
        return True

    def _pca_model(self) -> bool:
        before = self.tables.find(PCA_MODEL)
        if before is None:
            self._delete(NEED_PCA, "there is no PCA model")
            return False
        known = before.typed(PcaModelStatistics)
        settings = FitSettings(
            known.n_components_requested, known.min_explained_variance, refit_share=1
        )
        features = self.tables.current(MOBILENET_FEATURES)
        write = self.tables.begin(PCA_MODEL, self.context.run_id, [features])
        try:
            change = pca_model_change(
                write, features, settings, self.pyspark, self.context.log.info, erased=True
            )
        except PcaError as error:
            self._delete((PCA_MODEL, *NEED_PCA), str(error))
            return False
        self._store(pca_model, change)
        return True

    def _components(self) -> bool:
        if self.tables.find(PCA_COMPONENTS) is None:
            self._delete(NEED_COMPONENTS, "there are no components")
            return False
        inputs = (self.tables.current(MOBILENET_FEATURES), self.tables.current(PCA_MODEL))
        write = self.tables.begin(PCA_COMPONENTS, self.context.run_id, inputs)
        change = components_change(write, *inputs, self.pyspark, self.context.log.info)
        self._store(pca_components, change)
        return True

    def _csv(self) -> None:
        if self.tables.find(CSV_EXPORT) is None:
            return
        components = self.tables.current(PCA_COMPONENTS)
        write = self.tables.begin(CSV_EXPORT, self.context.run_id, [components])
        self._store(csv_export, csv_change(write, components))

    def _delete(self, assets: Sequence[str], reason: str) -> None:
        """Delete assets that cannot be rebuilt without the person's data."""
        for asset in assets:
            if self.tables.find(asset) is not None:
                self.context.log.warning(f"{asset} was deleted: {reason}")
                self.tables.delete(asset)

    def _store(self, assets_def: dg.AssetsDefinition, change: Change) -> None:
        _store(self.context, self.delta, assets_def, change)


def rebuild_on_host(context: dg.OpExecutionContext, tables: Tables, delta: DeltaIOManager) -> None:
    """Rebuild the assets that are built on the host; delete those whose libraries are missing."""
    for assets_def, build in BUILT_ON_HOST:
        asset = assets_def.key.to_user_string()
        if tables.find(asset) is None:
            continue
        try:
            change = build(tables, context.run_id)
        except ModuleNotFoundError as error:
            context.log.warning(f"{asset} was deleted: {error}")
            tables.delete(asset)
            continue
        _store(context, delta, assets_def, change)


def _store(
    context: dg.OpExecutionContext,
    delta: DeltaIOManager,
    assets_def: dg.AssetsDefinition,
    change: Change,
) -> None:
    """Commit a change, and report the version to Dagster like a materialization."""
    asset, write = change.write.asset, change.write
    if change.is_empty and write.before is not None:
        write.commit(write.before.statistics, note=NOTE)
        return
    code_version = assets_def.specs_by_key[dg.AssetKey(asset)].code_version or ""
    change = replace(change, note=f"{NOTE}; {change.note}" if change.note else NOTE)
    stored = delta.store(change, context, code_version)
    _report(context, assets_def, asset, change.digest, stored)


def _report(
    context: dg.OpExecutionContext,
    assets_def: dg.AssetsDefinition,
    asset: str,
    digest: str,
    shown: Metadata,
) -> None:
    output = dg.Output(None, asset, data_version=dg.DataVersion(digest))
    context.log_event(materialization.event(context.instance, assets_def, output, shown, asset))
