"""What the UI shows of a materialization, built from a version's statistics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Any

import dagster as dg
import pyspark

from spark_src.tables.delta import Snapshot, is_table
from spark_src.tables.schemas import TABLES, csv_schema, type_name
from spark_src.tables.statistics import (
    ComponentsStatistics,
    CsvStatistics,
    FeaturesStatistics,
    PcaModelStatistics,
    RawImagesStatistics,
    RejectedImagesStatistics,
    Statistics,
)

LIBRARIES = {
    "raw_images": ("pillow", "pyspark"),
    "rejected_images": ("pillow", "pyspark"),
    "mobilenet_model": ("tensorflow", "keras", "ai-edge-litert"),
    "mobilenet_features": ("ai-edge-litert", "pillow", "numpy", "pyspark"),
    "pca_model": ("numpy", "pyspark"),
    "pca_components": ("numpy", "pyspark"),
    "csv_export": ("pyarrow",),
    "embedding_quality": ("scikit-learn", "numpy"),
}
"""The libraries that shape each asset's numbers."""

Metadata = dict[str, Any]


def from_snapshot(snapshot: Snapshot, unchanged: bool = False) -> Metadata:
    """Metadata that every asset has, and what its statistics add."""
    known = snapshot.statistics
    metadata: Metadata = {
        "dagster/uri": snapshot.data_location.uri,
        "version": snapshot.version,
        "unchanged": unchanged,
        "files": len(snapshot.files) if is_table(snapshot.asset) else len(known.files),
        "bytes": dg.MetadataValue.int(snapshot.bytes),
        "seconds": known.seconds,
        "libraries": _libraries(snapshot.asset),
    }
    if snapshot.record.note:
        metadata["note"] = snapshot.record.note
    if is_table(snapshot.asset) or isinstance(known, CsvStatistics):
        metadata["dagster/row_count"] = known.rows
        metadata["dagster/column_schema"] = column_schema(snapshot)
    if known.measured.images and known.measured.seconds:
        metadata["images per second"] = round(known.measured.images / known.measured.seconds, 1)
    return metadata | _own(known)


def shown_before(context: Any, asset: str) -> Metadata:
    """What the last materialization showed: an asset that did not change looks as it did."""
    instance: dg.DagsterInstance = getattr(context, "step_context", context).instance
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    made = event.asset_materialization if event else None
    return dict(made.metadata) if made else {}


def _own(known: Statistics) -> Metadata:
    """What is of one asset alone."""
    if isinstance(known, RawImagesStatistics):
        ignored = {"ignored": counts_table(known.ignored, "kind")} if known.ignored else {}
        return {
            "files listed": known.n_listed,
            "files read": known.n_read,
            **ignored,
            "splits": counts_table(known.splits, "split"),
            "labels": counts_table(known.labels, "label"),
        }
    if isinstance(known, RejectedImagesStatistics):
        return {"reasons": counts_table(known.reasons, "reason")} if known.reasons else {}
    if isinstance(known, FeaturesStatistics):
        return {
            "model sha256": known.model_sha256,
            "pictures computed": known.computed,
            "images carried over": known.carried_over,
            "images of an interrupted run": known.resumed,
            "splits": counts_table(known.splits, "split"),
        }
    if isinstance(known, PcaModelStatistics):
        return _of_pca_model(known)
    if isinstance(known, ComponentsStatistics):
        return {
            "model sha256": known.model_sha256,
            "PCA model": known.pca_model,
            "n_components": known.n_components,
            "images projected": known.projected,
        }
    return {}


def _of_pca_model(known: PcaModelStatistics) -> Metadata:
    needed = {
        f"components for {float(share):.0%}".replace("%", " %"): count
        for share, count in known.components_for.items()
    }
    return {
        "model sha256": known.model_sha256,
        "n_components": known.n_components,
        "images fitted on": known.n_images,
        "images that are new since": known.n_new_images,
        "explained variance": round(known.explained_variance_today, 6),
        "explained variance when it was fitted": round(known.explained_variance, 6),
        "fit": known.description,
        **needed,
    }


def column_schema(snapshot: Snapshot) -> dg.TableSchema:
    """The columns with their types and meanings."""
    known = snapshot.statistics
    if isinstance(known, CsvStatistics):
        schema = csv_schema(known.n_components)
    else:
        schema = TABLES[snapshot.asset]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=type_name(field.type),
                description=field.metadata[b"comment"].decode(),
            )
            for field in schema
        ]
    )


def counts_table(counts: Mapping[str, int], column: str) -> dg.MarkdownMetadataValue:
    """Counts as a small table, the greatest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [f"| {name or '(none)'} | {count:,} |" for name, count in ordered]
    return dg.MetadataValue.md("\n".join([f"| {column} | rows |", "| --- | ---: |", *rows]))


def _libraries(asset: str) -> dg.MarkdownMetadataValue:
    names = LIBRARIES[asset]
    return dg.MetadataValue.md(", ".join(f"{name} {_version_of(name)}" for name in names))


def _version_of(library: str) -> str:
    # A cluster's own pyspark was not installed as a package.
    return pyspark.__version__ if library == "pyspark" else installed_version(library)
