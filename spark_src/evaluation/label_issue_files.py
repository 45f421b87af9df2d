"""Computes `label_issues` and stores it as CSV files: labels to review, and photos to label."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_src.errors import ClassifierError, UnreadableVersionError
from spark_src.evaluation import label_next
from spark_src.evaluation.head import SHRINKAGE
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.label_next import MOST
from spark_src.evaluation.label_next_files import list_content, unlabelled_of
from spark_src.evaluation.neighbour_files import Neighbours, find_neighbours
from spark_src.evaluation.neighbour_files import digest_of as digest_of_neighbours
from spark_src.tables.csv import for_spreadsheets, unescape_formula
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.reading import read_rows
from spark_src.tables.statistics import ComponentsStatistics, LabelIssuesStatistics, joint_digest
from spark_src.tables.vectors import float_matrix

if TYPE_CHECKING:
    import pandas as pd

VERSION = "2"
"""Version of the algorithm. Increase it if the same components give different issues."""

FILE = "label_issues.csv"
TO_LABEL = "photos_to_label.csv"


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """All evaluated labelled images, most likely label errors first."""

    rows: pd.DataFrame
    neighbours: Neighbours
    to_label: pd.DataFrame
    """The unlabelled photos most worth labelling."""
    reason: str
    """Why no photos were selected; empty if they were."""


def digest_of(components: Snapshot, classifier: Snapshot | None, photos: int) -> str:
    """Digest of everything that determines the lists."""
    known = classifier.statistics.digest if classifier else ""
    return joint_digest(components.statistics.digest, known, f"{SHRINKAGE:g} {photos} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored file is up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (before.data_location / FILE).exists()


def check_labels(
    features: Snapshot,
    components: Snapshot,
    classifier: Snapshot | None,
    photos: int = MOST,
    before: Snapshot | None = None,
) -> CheckedLabels:
    """Check every label with models trained on other groups, and select photos to label.

    Args:
        features: the version of `mobilenet_features`.
        components: the version of `pca_components`.
        classifier: the version of `fruit_classifier`, which has to be of the same PCA model.
        photos: maximum number of photos to select.
        before: the current version of `label_issues`, whose neighbours are updated.

    Raises:
        UnreadableVersionError: a file of components is damaged or missing.
    """
    from spark_src.evaluation.label_issues import label_issues  # imports pandas: 0.5 s

    table = read_rows(components, ["path", "image_id", "label", "pca"])
    images = table.select(["path", "image_id", "label"]).to_pandas()
    known = components.typed(ComponentsStatistics)
    vectors = float_matrix(table["pca"], known.n_components)
    order = images["path"].argsort(kind="stable")  # independent of the layout of the files
    images, vectors = images.iloc[order].reset_index(drop=True), vectors[order]
    neighbours = find_neighbours(images, vectors, known.pca_model, before)
    rows = label_issues(images, hold_out(images, vectors), neighbours.near)
    to_label, reason = _photos_to_label(features, components, classifier, photos)
    return CheckedLabels(rows, neighbours, to_label, reason)


def _photos_to_label(
    features: Snapshot, components: Snapshot, classifier: Snapshot | None, photos: int
) -> tuple[pd.DataFrame, str]:
    """The selected photos, and the reason if there are none."""
    import pandas as pd  # takes 0.5 s

    none = pd.DataFrame({name: [] for name in label_next.COLUMNS})
    if classifier is None:
        return none, "There is no classifier. Materialize fruit_classifier."
    try:
        return unlabelled_of(features, components, classifier, photos), ""
    except ClassifierError as error:
        return none, str(error)


def save(checked: CheckedLabels, write: TableWrite, digest: str) -> LabelIssuesStatistics:
    """Write the file; return the statistics for the commit."""
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    write_whole(write.location / name / FILE, for_spreadsheets(checked.rows))
    write_whole(write.location / name / TO_LABEL, list_content(checked.to_label))
    checked.neighbours.save(write.location / name)
    return LabelIssuesStatistics(
        digest=digest,
        rows=len(checked.rows),
        files=(name,),
        neighbours=digest_of_neighbours(checked.neighbours.pca_model),
        labelled=len(checked.neighbours.labelled),
        issues=int(checked.rows["issue"].sum()),
        to_label=len(checked.to_label),
    )


def load(snapshot: Snapshot, name: str = FILE) -> pd.DataFrame:
    """The rows of one of the files of a version of `label_issues`.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    import pandas as pd  # takes 0.5 s

    file = snapshot.data_location / name
    texts = dict.fromkeys(("path", "image_id", "label", "suggested"), unescape_formula)
    try:
        return pd.read_csv(io.BytesIO(file.read()), keep_default_na=False, converters=texts)
    except (OSError, ValueError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Delete it, and recompute it with: "
            "uv run dagster asset materialize --select label_issues"
        ) from error
