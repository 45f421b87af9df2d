"""`fruit_classifier`: one file that maps a picture to label probabilities. Built on the host."""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.metadata import Row, bounded_table, rows_table
from fruits_assets.resources import AssetStorage, CandidateStorage
from spark_src.errors import ClassifierError
from spark_src.evaluation import classifier_files
from spark_src.evaluation.classifier import Inputs, train
from spark_src.evaluation.comparison import compare_tables, digests_of
from spark_src.evaluation.held_out import HeldOut
from spark_src.evaluation.quality import MOST_IMAGES
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.model_comparison import Comparison
from spark_src.tables.registry import (
    FRUIT_CLASSIFIER,
    MOBILENET_FEATURES,
    MOBILENET_MODEL,
    PCA_COMPONENTS,
    RAW_IMAGES,
)
from spark_src.tables.statistics import joint_digest


class ClassifierConfig(AssetConfig):
    """How many images the classifier is evaluated on."""

    most_images: int = Field(
        MOST_IMAGES, gt=0, description="With more images, a fixed sample of this size is used."
    )


@catalog.FRUIT_CLASSIFIER.asset(
    # Depends on pca_components, not pca_model, so that `pca_model+` (one layer) runs PCA only.
    deps=[RAW_IMAGES, MOBILENET_MODEL, MOBILENET_FEATURES, PCA_COMPONENTS]
)
def fruit_classifier(
    context: dg.AssetExecutionContext,
    config: ClassifierConfig,
    storage: AssetStorage,
    candidate: CandidateStorage,
) -> dg.MaterializeResult[Change]:
    """One LiteRT file that takes a picture and returns labels with probabilities, for phones.

    A linear head trained on the split `Training`, or on all images if there is none. It is trained
    from exact sums, so images can be added and erased without retraining on the rest. Evaluated on
    held-out fruits, and compared with the model of FRUITS_CANDIDATE if that is set.
    """
    change = classifier_change(
        storage.tables, context.run.run_id, config.most_images, candidate.tables
    )
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def classifier_change(
    tables: Tables,
    run_id: str,
    most_images: int = MOST_IMAGES,
    candidate: Tables | None = None,
) -> Change:
    """The classifier of the current images."""
    started = time.monotonic()
    inputs = Inputs.current(tables)
    write = tables.begin(FRUIT_CLASSIFIER, run_id, inputs.all())
    own = classifier_files.digest_of(inputs.mobilenet_features, inputs.pca_components, most_images)
    digest = joint_digest(own, *digests_of(candidate))
    if classifier_files.is_current(write, digest):
        return Change.none(write)
    try:
        trained = train(inputs, write.before, most_images)
    except ClassifierError as error:  # images without labels are valid input
        reason = str(error)
        none = classifier_files.save_none(reason, write, digest, inputs.mobilenet_features)
        details = {"no classifier": reason}
        return Change(write, none, note=reason, started=started, details=details)
    comparisons = compare_tables(tables, candidate, most_images) if candidate else []
    statistics = classifier_files.save(
        trained.trained_head,
        trained.model,
        trained.evaluations,
        write,
        {"digest": digest, "comparisons": tuple(comparisons), **trained.statistics},
    )
    details = _metadata(trained.evaluations) | _comparison_table(comparisons)
    return Change(write, statistics, images=statistics.images, started=started, details=details)


def _comparison_table(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The accuracies of the current model and of the candidate; empty without a candidate."""
    rows = [comparison.cells() for comparison in comparisons]
    if not rows:
        return {}
    columns = {name: "int" if name in {"images", "groups"} else "string" for name in rows[0]}
    return {"candidate": rows_table(rows, columns)}


def _metadata(evaluations: list[HeldOut]) -> dict[str, Any]:
    columns = {
        "question": "string",
        "held out": "string",
        "images": "int",
        "accuracy": "string",
        "calibration error": "float",
    }
    cells = [
        (
            answer.question,
            answer.held_out,
            len(answer.rows),
            f"{answer.accuracy:.1%}",
            round(answer.calibration_error(), 4),
        )
        for answer in evaluations
    ]
    found = {
        "accuracy on held-out images": rows_table(
            [dict(zip(columns, row, strict=True)) for row in cells], columns
        )
    }
    # Labels of photos are folder names chosen by a person, and Dagster keeps metadata permanently.
    of_labels = [answer for answer in evaluations if answer.question == "fruit"]
    if not of_labels:
        return found
    worst = sorted(of_labels[0].per_class().items(), key=lambda item: (item[1][1], item[0]))
    rows: list[Row] = [
        {"label": label, "images": count, "accuracy": f"{share:.1%}"}
        for label, (count, share) in worst
    ]
    by_label = {"label": "string", "images": "int", "accuracy": "string"}
    return found | {"accuracy by label": bounded_table(rows, by_label)}
