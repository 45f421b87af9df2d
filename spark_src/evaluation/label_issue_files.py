"""How `label_issues` is made and kept: one CSV file that a person can work through."""

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
"""Of what is found: counted up where the same components give other issues."""

FILE = "label_issues.csv"


@dataclass(frozen=True, eq=False)
class Judged:
    """Every labelled image that could be judged, the likeliest to be mislabelled first."""

    rows: pd.DataFrame
    labelled: int
    """Images that have a label."""


def digest_of(components: Snapshot) -> str:
    """Of what the issues follow from."""
    return joint_digest(components.statistics.digest, f"{SHRINKAGE:g} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the file that is there is about just these components."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (before.data_location / FILE).exists()


def judge(components: Snapshot) -> Judged:
    """Judge every label by what images of other groups teach.

    Raises:
        UnreadableVersionError: a file of components is damaged or gone.
    """
    table = read_rows(components, ["path", "image_id", "label", "pca"])
    images = table.select(["path", "image_id", "label"]).to_pandas()
    vectors = float_matrix(table["pca"], components.typed(ComponentsStatistics).n_components)
    order = images["path"].argsort(kind="stable")  # the same however the files are cut
    images, vectors = images.iloc[order].reset_index(drop=True), vectors[order]
    rows = label_issues(images, hold_out(images, vectors), vectors)
    return Judged(rows, int(images["label"].notna().sum()))


def save(judged: Judged, write: TableWrite, digest: str) -> LabelIssuesStatistics:
    """Write the file; return what the commit says of it."""
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    text = judged.rows.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_whole(write.location / name / FILE, text.encode())
    return LabelIssuesStatistics(
        digest=digest,
        rows=len(judged.rows),
        files=(name,),
        labelled=judged.labelled,
        issues=int(judged.rows["issue"].sum()),
    )


def load(snapshot: Snapshot) -> pd.DataFrame:
    """The rows of a version of `label_issues`.

    Raises:
        UnreadableVersionError: the file is gone or damaged.
    """
    file = snapshot.data_location / FILE
    try:
        return pd.read_csv(io.BytesIO(file.read()), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Delete it, and make a new one with: "
            "uv run dagster asset materialize --select label_issues"
        ) from error
