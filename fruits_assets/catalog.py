"""The catalog: one description per asset for Dagster. Storage layout: `tables/registry.py`.

The asset definitions are in `assets/`; the computations are in `spark_src`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import dagster as dg

from fruits_assets import evaluation_previews, metadata, previews
from fruits_assets.failures import one_sentence
from spark_src.images.preprocess import PIXELS
from spark_src.tables import registry
from spark_src.tables.delta import Snapshot
from spark_src.tables.registry import STORED, StoredAsset

OWNERS = ["team:data"]

ON_UPSTREAM_UPDATE = dg.AutomationCondition.eager().with_label("when its inputs were updated")
"""Automation condition of assets that are materialized whenever one of their inputs is."""

FRESHNESS = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(days=7), fail_window=timedelta(days=31)
)
"""Warn about results older than a week. Refreshing an unchanged input only costs a listing."""


class Group(StrEnum):
    """Groups of assets in Dagster's UI, in the order of the pipeline."""

    INGEST = "ingest"
    MODEL = "model"
    FEATURES = "features"
    RESULTS = "results"
    EVALUATION = "evaluation"


class RunsOn(StrEnum):
    """Where the step of an asset runs: on Spark (the cluster, if any), or on Dagster's host."""

    SPARK = "spark"
    HOST = "host"


class PersonalData(StrEnum):
    """What personal data the asset contains if the input has people's photos."""

    PHOTOS = "photos"
    PATHS = "paths"
    DERIVED = "derived"
    NONE = "none"


@dataclass(frozen=True)
class AssetDescription:
    """The description of one asset."""

    stored: StoredAsset
    group: Group
    runs_on: RunsOn
    personal_data: PersonalData
    kinds: frozenset[str]
    libraries: tuple[str, ...]
    """The libraries that affect its values; their versions are shown in the UI."""
    code_version: str = "1"
    automated: bool = False
    """Whether automation materializes it when its inputs are updated."""
    fresh: bool = False
    """Whether it has a freshness policy."""
    details: Callable[[Any], metadata.Metadata] = lambda _: {}
    """Asset-specific metadata, from its statistics."""
    preview: Callable[[previews.Gallery, Snapshot], metadata.Metadata] = lambda *_: {}
    """Pictures and first rows for the UI."""
    pages_checked: bool = False
    """Whether a check compares each page of its files with its checksum."""
    rows_equal: str | None = None
    """The asset with the same number of rows, as a blocking check asserts."""

    @property
    def name(self) -> str:
        """The asset's key."""
        return self.stored.name

    @property
    def tags(self) -> dict[str, str]:
        """Tags to filter by in the UI."""
        return {"runs_on": self.runs_on.value, "personal_data": self.personal_data.value}

    def asset(
        self, *, deps: Sequence[str] | None = None, pool: str | None = None
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """The decorator `@dg.asset` with these options, and with the errors of `failures`."""

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            takes_config = "config" in inspect.signature(function).parameters
            decorated: dg.AssetsDefinition = dg.asset(
                name=self.name,
                deps=deps,
                pool=pool,
                group_name=self.group.value,
                automation_condition=ON_UPSTREAM_UPDATE if self.automated else None,
                # Without a schema, Dagster would silently ignore config of an asset without any.
                config_schema=None if takes_config else {},
                **self._options(),
            )(one_sentence(function))
            return decorated

        return decorate

    def out(self, description: str) -> dg.AssetOut:
        """The asset as an optional output of a `@dg.multi_asset`."""
        return dg.AssetOut(
            description=description,
            is_required=False,
            group_name=self.group.value,
            **self._options(),
        )

    def _options(self) -> dict[str, Any]:
        return {
            "io_manager_key": "delta",
            "owners": OWNERS,
            "tags": self.tags,
            "kinds": set(self.kinds),
            "code_version": self.code_version,
            "freshness_policy": FRESHNESS if self.fresh else None,
        }


RAW_IMAGES = AssetDescription(
    STORED[registry.RAW_IMAGES],
    Group.INGEST,
    RunsOn.SPARK,
    PersonalData.PHOTOS,
    kinds=frozenset({"pyspark", "deltalake"}),
    libraries=("pillow", "pyspark"),
    details=metadata.raw_images,
    preview=previews.raw_images,
    pages_checked=True,
)

REJECTED_IMAGES = AssetDescription(
    STORED[registry.REJECTED_IMAGES],
    Group.INGEST,
    RunsOn.SPARK,
    PersonalData.PATHS,
    kinds=frozenset({"pyspark", "deltalake"}),
    libraries=("pillow", "pyspark"),
    details=metadata.rejected_images,
    preview=previews.rejected_images,
)

MOBILENET_MODEL = AssetDescription(
    STORED[registry.MOBILENET_MODEL],
    Group.MODEL,
    RunsOn.HOST,
    PersonalData.NONE,
    kinds=frozenset({"tensorflow", "tflite"}),
    libraries=("tensorflow", "keras", "ai-edge-litert"),
    details=metadata.mobilenet_model,
)

MOBILENET_FEATURES = AssetDescription(
    STORED[registry.MOBILENET_FEATURES],
    Group.FEATURES,
    RunsOn.SPARK,
    PersonalData.DERIVED,
    kinds=frozenset({"pyspark", "deltalake"}),
    libraries=("ai-edge-litert", "pillow", "numpy", "pyspark"),
    code_version=PIXELS,
    automated=True,
    details=metadata.mobilenet_features,
    preview=previews.mobilenet_features,
    pages_checked=True,
    rows_equal=registry.RAW_IMAGES,
)

PCA_MODEL = AssetDescription(
    STORED[registry.PCA_MODEL],
    Group.RESULTS,
    RunsOn.SPARK,
    PersonalData.DERIVED,
    kinds=frozenset({"pyspark", "numpy"}),
    libraries=("numpy", "pyspark"),
    automated=True,
    details=metadata.pca_model,
    preview=previews.pca_model,
)

PCA_COMPONENTS = AssetDescription(
    STORED[registry.PCA_COMPONENTS],
    Group.RESULTS,
    RunsOn.SPARK,
    PersonalData.DERIVED,
    kinds=frozenset({"pyspark", "deltalake"}),
    libraries=("numpy", "pyspark"),
    automated=True,
    fresh=True,
    details=metadata.pca_components,
    preview=previews.pca_components,
    pages_checked=True,
    rows_equal=registry.MOBILENET_FEATURES,
)

CSV_EXPORT = AssetDescription(
    STORED[registry.CSV_EXPORT],
    Group.RESULTS,
    RunsOn.SPARK,
    PersonalData.DERIVED,
    kinds=frozenset({"csv"}),
    libraries=("pyarrow",),
    automated=True,
    fresh=True,
    preview=previews.csv_export,
    rows_equal=registry.PCA_COMPONENTS,
)

EMBEDDING_QUALITY = AssetDescription(
    STORED[registry.EMBEDDING_QUALITY],
    Group.EVALUATION,
    RunsOn.HOST,
    PersonalData.NONE,
    kinds=frozenset({"numpy", "json"}),
    libraries=("numpy",),
    automated=True,
)

DATA_HEALTH = AssetDescription(
    STORED[registry.DATA_HEALTH],
    Group.EVALUATION,
    RunsOn.HOST,
    PersonalData.PATHS,
    kinds=frozenset({"numpy", "parquet"}),
    libraries=("numpy", "scipy", "usearch"),
    automated=True,
    details=metadata.data_health,
    preview=evaluation_previews.data_health,
)

FRUIT_CLASSIFIER = AssetDescription(
    STORED[registry.FRUIT_CLASSIFIER],
    Group.EVALUATION,
    RunsOn.HOST,
    PersonalData.DERIVED,
    kinds=frozenset({"numpy", "tflite"}),
    libraries=("numpy", "scipy", "ai-edge-litert"),
    automated=True,
    details=metadata.fruit_classifier,
    preview=evaluation_previews.fruit_classifier,
)

LABEL_ISSUES = AssetDescription(
    STORED[registry.LABEL_ISSUES],
    Group.EVALUATION,
    RunsOn.HOST,
    PersonalData.PATHS,
    kinds=frozenset({"numpy", "csv"}),
    libraries=("numpy", "pandas"),
    automated=True,
    details=metadata.label_issues,
    preview=evaluation_previews.label_issues,
)

CATALOG: dict[str, AssetDescription] = {
    asset.name: asset
    for asset in (
        RAW_IMAGES,
        REJECTED_IMAGES,
        MOBILENET_MODEL,
        MOBILENET_FEATURES,
        PCA_MODEL,
        PCA_COMPONENTS,
        CSV_EXPORT,
        EMBEDDING_QUALITY,
        DATA_HEALTH,
        FRUIT_CLASSIFIER,
        LABEL_ISSUES,
    )
}
"""Every asset by its name."""
