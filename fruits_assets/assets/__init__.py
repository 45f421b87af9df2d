"""The asset graph, a file a stage: each body calls one function of `spark_src`."""

from fruits_assets.assets.classifier import fruit_classifier
from fruits_assets.assets.export import csv_export
from fruits_assets.assets.features import mobilenet_features
from fruits_assets.assets.health import data_health
from fruits_assets.assets.ingest import ingest
from fruits_assets.assets.label_issues import label_issues
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
    data_health,
    fruit_classifier,
    label_issues,
]

__all__ = [
    "ASSETS",
    "csv_export",
    "data_health",
    "embedding_quality",
    "fruit_classifier",
    "ingest",
    "label_issues",
    "mobilenet_features",
    "mobilenet_model",
    "pca_components",
    "pca_model",
]
