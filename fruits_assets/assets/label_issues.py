"""`label_issues`: likely label errors, found by comparing pictures. Runs on the host."""

import time
from typing import Any

import dagster as dg

from fruits_assets import catalog
from fruits_assets.metadata import rows_table
from fruits_assets.resources import AssetStorage
from spark_src.evaluation import label_issue_files
from spark_src.images.layout import is_photo
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.registry import LABEL_ISSUES, PCA_COMPONENTS, RAW_IMAGES

INPUTS = (RAW_IMAGES, PCA_COMPONENTS)


@catalog.LABEL_ISSUES.asset(
    deps=INPUTS,
)
def label_issues(
    context: dg.AssetExecutionContext, storage: AssetStorage
) -> dg.MaterializeResult[Change]:
    """Each label's out-of-fold probability, the most doubtful labels first.

    A CSV file to review. Save the corrected file as `labels.csv` under the input, and `raw_images`
    applies it.
    """
    change, metadata = label_issues_change(storage.tables, context.run_id)
    return dg.MaterializeResult(
        value=change, data_version=dg.DataVersion(change.digest), metadata=metadata
    )


def label_issues_change(tables: Tables, run_id: str) -> tuple[Change, dict[str, Any]]:
    """The issues of the current labels, and their UI metadata."""
    started = time.monotonic()
    raw, components = (tables.current(name) for name in INPUTS)
    write = tables.begin(LABEL_ISSUES, run_id, [raw, components])
    digest = label_issue_files.digest_of(components)
    if label_issue_files.is_current(write, digest):
        return Change.none(write), {}
    checked = label_issue_files.check_labels(components, write.before)
    statistics = label_issue_files.save(checked, write, digest)
    change = Change(write, statistics, images=len(checked.rows), started=started)
    found = checked.rows[checked.rows["issue"] & ~checked.rows["path"].map(is_photo).astype(bool)]
    pairs = found.groupby(["label", "suggested"]).size().sort_values(ascending=False).head(20)
    rows: list[dict[str, str | int]] = [
        {"label": str(given), "suggested": str(other), "images": int(count)}
        for (given, other), count in pairs.items()
    ]
    columns = {"label": "string", "suggested": "string", "images": "int"}
    return change, {"labels in doubt": rows_table(rows, columns)}
