"""What the UI shows of a materialization, built from a version's facts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Any

import dagster as dg
import pyspark

from spark_src.io.locations import Location
from spark_src.storage import Version
from spark_src.tables.csv import FILE
from spark_src.tables.schemas import SCHEMAS, csv_schema

LIBRARIES = {
    "raw_images": ("pillow", "pyspark"),
    "rejected_images": ("pillow", "pyspark"),
    "mobilenet_model": ("tensorflow", "keras", "ai-edge-litert"),
    "mobilenet_features": ("ai-edge-litert", "pillow", "numpy", "pyspark"),
    "pca_model": ("numpy", "pyspark"),
    "pca_components": ("numpy", "pyspark"),
    "csv_export": ("pyspark",),
    "embedding_quality": ("scikit-learn", "numpy"),
}
"""The libraries that shape each asset's numbers."""

Metadata = dict[str, Any]


def of_version(version: Version) -> Metadata:
    """Metadata that every asset has, and a table's own besides."""
    facts = version.facts
    seconds = facts["seconds"]
    metadata: Metadata = {
        "dagster/uri": data_location(version).uri,
        "version": version.name,
        "files": version.files,
        "bytes": dg.MetadataValue.int(version.bytes),
        "seconds": seconds,
        "libraries": _libraries(version.asset),
    }
    if "rows" in facts:
        metadata["dagster/row_count"] = facts["rows"]
    if "rows" in facts and seconds:
        metadata["images per second"] = round(facts["images"] / seconds, 1)
    if "rows" in facts:
        metadata["dagster/column_schema"] = column_schema(version)
    if "model" in facts:
        metadata["model sha256"] = facts["model"]
    if "explained_variance" in facts:
        metadata["explained variance"] = round(facts["explained_variance"], 6)
        metadata["n_components"] = facts["n_components"]
        metadata["images fitted on"] = facts["images"]
        for share, needed in facts["components_for"].items():
            metadata[f"components for {float(share):.0%}".replace("%", " %")] = needed
    for name in ("splits", "labels", "reasons"):
        if facts.get(name):
            metadata[name] = counts_table(facts[name], name.removesuffix("s"))
    return metadata


def column_schema(version: Version) -> dg.TableSchema:
    """The columns with their types and meanings."""
    if version.asset == "csv_export":
        schema = csv_schema(version.facts["n_components"])
    else:
        schema = SCHEMAS[version.asset]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=field.dataType.simpleString(),
                description=field.metadata["comment"],
            )
            for field in schema.fields
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


def data_location(version: Version) -> Location:
    """Where a person finds the data: the folder, or the one CSV file."""
    return version.location / FILE if version.asset == "csv_export" else version.location
