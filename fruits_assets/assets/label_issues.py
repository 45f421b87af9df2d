"""`label_issues`: likely label errors, and photos to label next. Runs on the host."""

import time

import dagster as dg
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.metadata import Row, bounded_table
from fruits_assets.resources import AssetStorage
from spark_src.evaluation import label_issue_files
from spark_src.evaluation.label_next import MOST
from spark_src.images.layout import is_photo
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.registry import (
    FRUIT_CLASSIFIER,
    LABEL_ISSUES,
    MOBILENET_FEATURES,
    PCA_COMPONENTS,
    RAW_IMAGES,
)

INPUTS = (RAW_IMAGES, MOBILENET_FEATURES, PCA_COMPONENTS)


class LabelConfig(AssetConfig):
    """How many photos to select for labelling."""

    photos_to_label: int = Field(
        MOST, ge=0, description="How many unlabelled photos to select for labelling."
    )


@catalog.LABEL_ISSUES.asset(deps=[RAW_IMAGES, PCA_COMPONENTS, FRUIT_CLASSIFIER])
def label_issues(
    context: dg.AssetExecutionContext, config: LabelConfig, storage: AssetStorage
) -> dg.MaterializeResult[Change]:
    """Each label's out-of-fold probability, the most doubtful labels first.

    A CSV file to review. Save the corrected file as `labels.csv` under the input, and `raw_images`
    applies it. A second CSV file lists the unlabelled photos that are most worth labelling.
    """
    change = label_issues_change(storage.tables, context.run.run_id, config.photos_to_label)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def label_issues_change(tables: Tables, run_id: str, photos: int = MOST) -> Change:
    """The issues of the current labels and the photos to label."""
    started = time.monotonic()
    raw, features, components = (tables.current(name) for name in INPUTS)
    classifier = tables.find(FRUIT_CLASSIFIER)
    inputs = [raw, features, components, *([classifier] if classifier else [])]
    write = tables.begin(LABEL_ISSUES, run_id, inputs)
    digest = label_issue_files.digest_of(components, classifier, photos)
    if label_issue_files.is_current(write, digest):
        return Change.none(write)
    checked = label_issue_files.check_labels(
        features, components, classifier, photos, before=write.before
    )
    statistics = label_issue_files.save(checked, write, digest)
    found = checked.rows[checked.rows["issue"] & ~checked.rows["path"].map(is_photo).astype(bool)]
    pairs = found.groupby(["label", "suggested"]).size().sort_values(ascending=False)
    rows: list[Row] = [
        {"label": str(given), "suggested": str(other), "images": int(count)}
        for (given, other), count in pairs.items()
    ]
    columns = {"label": "string", "suggested": "string", "images": "int"}
    note = checked.reason
    details = {
        "doubtful labels by suggestion": bounded_table(rows, columns),
        **({"no photos to label": note} if note else {}),
    }
    images = len(checked.rows)
    return Change(write, statistics, note=note, images=images, started=started, details=details)
