"""Computes `label_issues` and stores it as one CSV file for review."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass

import pandas as pd

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.head import SHRINKAGE
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.label_issues import label_issues
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.reading import read_rows
from spark_src.tables.statistics import ComponentsStatistics, LabelIssuesStatistics, joint_digest
from spark_src.tables.vectors import float_matrix

VERSION = "1"
"""Version of the algorithm. Increase it if the same components give different issues."""

FILE = "label_issues.csv"


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """All evaluated labelled images, most likely label errors first."""

    rows: pd.DataFrame
    n_labelled: int
    """Number of images with a label."""


def digest_of(components: Snapshot) -> str:
    """Digest of everything that determines the issues."""
    return joint_digest(components.statistics.digest, f"{SHRINKAGE:g} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored file is up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (before.data_location / FILE).exists()


def check_labels(components: Snapshot) -> CheckedLabels:
    """Check every label with models trained on other groups.

    Raises:
        UnreadableVersionError: a file of components is damaged or missing.
    """
    table = read_rows(components, ["path", "image_id", "label", "pca"])
    images = table.select(["path", "image_id", "label"]).to_pandas()
    vectors = float_matrix(table["pca"], components.typed(ComponentsStatistics).n_components)
    order = images["path"].argsort(kind="stable")  # independent of the layout of the files
    images, vectors = images.iloc[order].reset_index(drop=True), vectors[order]
    rows = label_issues(images, hold_out(images, vectors), vectors)
    return CheckedLabels(rows, int(images["label"].notna().sum()))


def save(checked: CheckedLabels, write: TableWrite, digest: str) -> LabelIssuesStatistics:
    """Write the file; return the statistics for the commit."""
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    text = checked.rows.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_whole(write.location / name / FILE, text.encode())
    return LabelIssuesStatistics(
        digest=digest,
        rows=len(checked.rows),
        files=(name,),
        labelled=checked.n_labelled,
        issues=int(checked.rows["issue"].sum()),
    )


def load(snapshot: Snapshot) -> pd.DataFrame:
    """The rows of a version of `label_issues`.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = snapshot.data_location / FILE
    try:
        return pd.read_csv(io.BytesIO(file.read()), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Delete it, and recompute it with: "
            "uv run dagster asset materialize --select label_issues"
        ) from error
