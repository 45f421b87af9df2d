"""How each asset is stored: folder, columns, statistics. Its Dagster definition is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from spark_src.contract import PREFIXES
from spark_src.tables import schemas
from spark_src.tables import statistics as models

RAW_IMAGES: Final = "raw_images"
REJECTED_IMAGES: Final = "rejected_images"
MOBILENET_MODEL: Final = "mobilenet_model"
MOBILENET_FEATURES: Final = "mobilenet_features"
PCA_MODEL: Final = "pca_model"
PCA_COMPONENTS: Final = "pca_components"
CSV_EXPORT: Final = "csv_export"
EMBEDDING_QUALITY: Final = "embedding_quality"
DATA_HEALTH: Final = "data_health"
FRUIT_CLASSIFIER: Final = "fruit_classifier"
LABEL_ISSUES: Final = "label_issues"


@dataclass(frozen=True)
class StoredAsset:
    """The stored form of one asset."""

    name: str
    statistics: type[models.Statistics]
    """The model of the statistics in its commits."""
    schema: pa.Schema | None = None
    """The columns of its table; None: the asset is a file or folder that a one-row table names."""
    vector_column: str | None = None
    """The column with a vector for each image."""
    has_rows: bool = True
    """Whether it has a row for each image or file."""
    cost_stage: str | None = None
    """Name of its stage in cost estimates."""

    @property
    def folder(self) -> str:
        """Its folder under the storage, from `contract.json`: `infra/` grants access to it."""
        return PREFIXES[self.name]


_ALL = (
    StoredAsset(RAW_IMAGES, models.RawImagesStatistics, schemas.RAW_IMAGES, cost_stage="ingest"),
    StoredAsset(REJECTED_IMAGES, models.RejectedImagesStatistics, schemas.REJECTED_IMAGES),
    StoredAsset(MOBILENET_MODEL, models.MobilenetModelStatistics, has_rows=False),
    StoredAsset(
        MOBILENET_FEATURES,
        models.FeaturesStatistics,
        schemas.MOBILENET_FEATURES,
        vector_column="features",
        cost_stage="features",
    ),
    StoredAsset(PCA_MODEL, models.PcaModelStatistics, has_rows=False, cost_stage="PCA fit"),
    StoredAsset(
        PCA_COMPONENTS,
        models.ComponentsStatistics,
        schemas.PCA_COMPONENTS,
        vector_column="pca",
        cost_stage="projection",
    ),
    StoredAsset(CSV_EXPORT, models.CsvStatistics, cost_stage="CSV"),
    StoredAsset(EMBEDDING_QUALITY, models.QualityStatistics, has_rows=False),
    StoredAsset(DATA_HEALTH, models.HealthStatistics),
    StoredAsset(FRUIT_CLASSIFIER, models.ClassifierStatistics, has_rows=False),
    StoredAsset(LABEL_ISSUES, models.LabelIssuesStatistics),
)

STORED: dict[str, StoredAsset] = {stored.name: stored for stored in _ALL}
"""Every asset by name, in topological order."""

TABLES: dict[str, pa.Schema] = {
    name: stored.schema for name, stored in STORED.items() if stored.schema is not None
}
"""The columns of the assets that are tables."""
