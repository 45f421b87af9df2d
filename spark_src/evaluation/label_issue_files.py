"""Stores and updates `label_issues`: a CSV file for review, and the neighbours of each image."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.head import SHRINKAGE, Matrix
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.label_issues import label_issues
from spark_src.evaluation.neighbours import UNKNOWN, Rows, nearest, update
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.reading import read_rows
from spark_src.tables.statistics import ComponentsStatistics, LabelIssuesStatistics, joint_digest
from spark_src.tables.vectors import float_matrix

VERSION = "2"
"""Version of the algorithm. Increase it if the same components give different issues."""

FILE = "label_issues.csv"
NEIGHBOURS_FILE = "neighbours.parquet"


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """All evaluated labelled images, most likely label errors first."""

    rows: pd.DataFrame
    labelled: pd.DataFrame
    """Path and image_id of each image with a label, sorted by path."""
    near: Rows
    """(labelled, neighbours): the nearest labelled images of each, by position."""
    pca_model: str
    """Digest of the PCA model that the distances depend on."""


def digest_of(components: Snapshot) -> str:
    """Digest of everything that determines the issues."""
    return joint_digest(components.statistics.digest, f"{SHRINKAGE:g} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored file is up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (before.data_location / FILE).exists()


def check_labels(components: Snapshot, before: Snapshot | None = None) -> CheckedLabels:
    """Check every label with models trained on other groups.

    Args:
        components: the version of `pca_components`.
        before: the current version of `label_issues`. Only images that it does not contain are
            compared with all others.

    Raises:
        UnreadableVersionError: a file of components is damaged or missing.
    """
    table = read_rows(components, ["path", "image_id", "label", "pca"])
    images = table.select(["path", "image_id", "label"]).to_pandas()
    known = components.typed(ComponentsStatistics)
    vectors = float_matrix(table["pca"], known.n_components)
    order = images["path"].argsort(kind="stable")  # independent of the layout of the files
    images, vectors = images.iloc[order].reset_index(drop=True), vectors[order]
    has_label = images["label"].notna().to_numpy(bool)
    labelled = images.loc[has_label, ["path", "image_id"]].reset_index(drop=True)
    near = _neighbours(labelled, vectors[has_label], known.pca_model, before)
    rows = label_issues(images, hold_out(images, vectors), near)
    return CheckedLabels(rows, labelled, near, known.pca_model)


def save(checked: CheckedLabels, write: TableWrite, digest: str) -> LabelIssuesStatistics:
    """Write the files; return the statistics for the commit."""
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    text = checked.rows.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_whole(write.location / name / FILE, text.encode())
    near = pd.DataFrame(checked.near.astype(np.int32)).add_prefix("near_")
    table = pa.Table.from_pandas(checked.labelled.join(near), preserve_index=False)
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    write_whole(write.location / name / NEIGHBOURS_FILE, content.getvalue())
    return LabelIssuesStatistics(
        digest=digest,
        rows=len(checked.rows),
        files=(name,),
        version=VERSION,
        pca_model=checked.pca_model,
        labelled=len(checked.labelled),
        issues=int(checked.rows["issue"].sum()),
    )


def _neighbours(
    labelled: pd.DataFrame, vectors: Matrix, pca_model: str, before: Snapshot | None
) -> Rows:
    """The nearest labelled images of each, from those of the previous version if they fit."""
    if before is None:
        return nearest(vectors)
    statistics = before.typed(LabelIssuesStatistics)
    if (statistics.version, statistics.pca_model) != (VERSION, pca_model):
        return nearest(vectors)
    try:
        content = (before.data_location / NEIGHBOURS_FILE).read()
        known = pq.read_table(io.BytesIO(content)).to_pandas()
    except (OSError, pa.ArrowException):
        return nearest(vectors)
    return update(vectors, _positions(labelled, known))


def _positions(labelled: pd.DataFrame, known: pd.DataFrame) -> Rows:
    """(labelled, neighbours): the known neighbours of each image, by their new positions."""
    keys = ["path", "image_id"]
    earlier, current = (pd.MultiIndex.from_frame(rows[keys]) for rows in (known, labelled))
    to_earlier, to_current = earlier.get_indexer(current), current.get_indexer(earlier)
    near = to_current[known.drop(columns=keys).to_numpy(np.int64)]
    # `to_earlier` is -1 for images that are not among the known ones: the last row.
    unknown = np.full((1, near.shape[1]), UNKNOWN, np.int64)
    return np.asarray(np.vstack([near, unknown])[to_earlier], np.int64)


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
