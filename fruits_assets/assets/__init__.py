"""The asset graph, a file a stage: each body calls one function of `spark_src`."""

from fruits_assets.assets.export import csv_export
from fruits_assets.assets.features import mobilenet_features
from fruits_assets.assets.ingest import ingest
from fruits_assets.assets.model import mobilenet_model
from fruits_assets.assets.pca import pca_components, pca_model
from fruits_assets.assets.quality import embedding_quality

ASSETS = [
    ingest,
    mobilenet_model,
    mobilenet_features,
    pca_model,
    pca_components,
    csv_export,
    embedding_quality,
]

__all__ = [
    "ASSETS",
    "csv_export",
    "embedding_quality",
    "ingest",
    "mobilenet_features",
    "mobilenet_model",
    "pca_components",
    "pca_model",
]
