"""Metadata values for Dagster's UI: tables, schemas, and figures from each asset's statistics.

`catalog.py` assigns them to assets; `materialization.py` records them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Any

import dagster as dg
import pyspark

from spark_src.tables.delta import Snapshot
from spark_src.tables.registry import TABLES
from spark_src.tables.schemas import csv_schema, type_name
from spark_src.tables.statistics import (
    ClassifierStatistics,
    ComponentsStatistics,
    CsvStatistics,
    FeaturesStatistics,
    HealthStatistics,
    LabelIssuesStatistics,
    MobilenetModelStatistics,
    PcaModelStatistics,
    RawImagesStatistics,
    RejectedImagesStatistics,
)

MAX_TABLE_ROWS = 50
"""Maximum rows of a table of counts: an input may have thousands of labels."""

_MARKUP = re.compile(r"[\\`*\[\]<>|~]")

Metadata = dict[str, Any]

Row = Mapping[str, str | int | float | bool | None]


def readable(values: Metadata) -> Metadata:
    """Values with thousands separators, which Dagster's UI does not add to numbers."""
    return {name: _separated(value) for name, value in values.items()}


def _separated(value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) and value >= 1000 else value


def short(digest: str) -> str:
    """The beginning of a digest: a page has no room for 64 characters in one word."""
    return f"{digest[:16]}…"


def raw_images(known: RawImagesStatistics) -> Metadata:
    """The accounting of the input."""
    ignored = {"ignored files by kind": counts_table(known.ignored, "kind", "files")}
    corrections = {
        "labels corrected": known.n_corrected,
        "corrections of missing files": known.n_unknown_corrections,
    }
    return {
        "input": known.input,
        "files listed": known.n_listed,
        "files read": known.n_read,
        **(ignored if known.ignored else {}),
        **(corrections if any(corrections.values()) else {}),
        "images by split": counts_table(known.splits, "split", "images"),
        "images by label": counts_table(known.labels, "label", "images"),
    }


def rejected_images(known: RejectedImagesStatistics) -> Metadata:
    """Rejected files by reason."""
    found: Metadata = {"input": known.input}
    if known.reasons:
        found["rejected files by reason"] = counts_table(known.reasons, "reason", "files")
    return found


def mobilenet_model(known: MobilenetModelStatistics) -> Metadata:
    """The model's digests, and its difference from Keras."""
    return {
        "model sha256": short(known.sha256),
        "weights sha256": short(known.weights_sha256),
        "converter": known.converter,
        "largest difference from Keras": round(known.greatest_difference, 6),
    }


def mobilenet_features(known: FeaturesStatistics) -> Metadata:
    """How many features were computed and how many reused."""
    return {
        "model sha256": short(known.model_sha256),
        "images computed": known.computed,
        "images reused": known.carried_over,
        "images recovered from an interrupted run": known.resumed,
        "images by split": counts_table(known.splits, "split", "images"),
    }


def pca_model(known: PcaModelStatistics) -> Metadata:
    """The images the model was fitted on, and the variance it keeps."""
    needed = {
        f"components for {float(share):.0%}".replace("%", " %"): count
        for share, count in known.components_for.items()
    }
    return {
        "model sha256": short(known.model_sha256),
        "n_components": known.n_components,
        "n_components requested": known.n_components_requested,
        "images fitted on": known.n_images,
        "images added since the fit": known.n_new_images,
        "explained variance": round(known.explained_variance_today, 6),
        "explained variance at the fit": round(known.explained_variance, 6),
        "fit": known.description,
        **needed,
    }


def pca_components(known: ComponentsStatistics) -> Metadata:
    """The models used, and the number of images projected."""
    return {
        "model sha256": short(known.model_sha256),
        "PCA model": short(known.pca_model),
        "n_components": known.n_components,
        "images projected": known.projected,
    }


def data_health(known: HealthStatistics) -> Metadata:
    """The number of duplicates, and of duplicates across splits, labels or people."""
    return {
        "minimum cosine of near duplicates": known.threshold,
        "images": known.images,
        "images compared": known.compared,
        **{name: count for name, count in known.crossing.items() if count},
    }


def fruit_classifier(known: ClassifierStatistics) -> Metadata:
    """The classifier's training data, size, speed and accuracy."""
    return {
        "model sha256": short(known.model_sha256),
        "labels": known.classes,
        "images fitted on": known.images,
        "files of features read": known.files_read,
        "size of the LiteRT file": f"{known.model_bytes:,} bytes",
        "milliseconds per image, one core": known.milliseconds,
        "largest difference from the tables": float(f"{known.greatest_difference:.2g}"),
        **{f"accuracy, {name}": round(share, 4) for name, share in known.accuracy.items()},
    }


def label_issues(known: LabelIssuesStatistics) -> Metadata:
    """How many labels were evaluated, how many may be wrong, and how many photos to label next."""
    return {
        "images evaluated": known.rows,
        "labels that may be wrong": known.issues,
        "photos to label next": known.to_label,
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


def counts_table(counts: Mapping[str, int], column: str, unit: str) -> dg.TableMetadataValue:
    """Counts by name, largest first; the last row sums up the remaining ones."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:MAX_TABLE_ROWS], ordered[MAX_TABLE_ROWS:]
    rows: list[Row] = [{column: name or "(none)", unit: count} for name, count in shown]
    if rest:
        rows.append({column: f"({len(rest):,} more)", unit: sum(count for _, count in rest)})
    return rows_table(rows, {column: "string", unit: "int"})


def bounded_table(rows: Sequence[Row], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """The first rows as a table; a last row gives the number of the others."""
    shown, n_more = list(rows[:MAX_TABLE_ROWS]), len(rows) - MAX_TABLE_ROWS
    if n_more > 0:
        shown.append(dict.fromkeys(columns, "") | {next(iter(columns)): f"({n_more:,} more)"})
    return rows_table(shown, columns)


def rows_table(rows: Sequence[Row], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    """Rows as a metadata table. The UI shows values as text, so nothing has to be escaped.

    Args:
        rows: values by column.
        columns: column types (`string`, `int`, `float`, `bool`) by name, in order.
    """
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(readable(dict(row))) for row in rows], schema)


def escape_markdown(name: str) -> str:
    """The name of a folder or file for the description of a check, which Dagster's UI renders.

    A folder may be called `![x](https://…)`, which would load a picture.
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(name.split()))


def libraries(names: Sequence[str]) -> str:
    """Libraries with their installed versions."""
    return ", ".join(f"{name} {_version_of(name)}" for name in names)


def _version_of(library: str) -> str:
    # On a cluster, pyspark is not installed as a package.
    return pyspark.__version__ if library == "pyspark" else installed_version(library)
