"""`embedding_quality`: how useful the components are. Runs on the host and reads a sample."""

import time
from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.metadata import rows_table
from fruits_assets.resources import AssetStorage, CandidateStorage
from spark_src.evaluation import quality_files
from spark_src.evaluation.comparison import digests_of
from spark_src.evaluation.quality import MOST_IMAGES, Answer, Quality, measure, read
from spark_src.pca.fit import load_current
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.registry import (
    EMBEDDING_QUALITY,
    MOBILENET_FEATURES,
    PCA_COMPONENTS,
    PCA_MODEL,
)
from spark_src.tables.statistics import joint_digest

INPUTS = (MOBILENET_FEATURES, PCA_MODEL, PCA_COMPONENTS)


class QualityConfig(AssetConfig):
    """How many images are compared."""

    most_images: int = Field(
        MOST_IMAGES, gt=0, description="With more images, a fixed sample of this size is used."
    )


@catalog.EMBEDDING_QUALITY.asset(
    deps=INPUTS,
)
def embedding_quality(
    context: dg.AssetExecutionContext,
    config: QualityConfig,
    storage: AssetStorage,
    candidate: CandidateStorage,
) -> dg.MaterializeResult[Change]:
    """How well components, compared with features, distinguish fruits.

    Evaluated only on fruits, rotation axes and people that were held out of training. With
    FRUITS_CANDIDATE, another model is evaluated as well.
    """
    change = quality_change(
        storage.tables, context.run.run_id, config.most_images, candidate.tables
    )
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def quality_change(
    tables: Tables,
    run_id: str,
    most_images: int = MOST_IMAGES,
    candidate: Tables | None = None,
) -> Change:
    """The results of every evaluation."""
    started = time.monotonic()
    features, model, components = (tables.current(name) for name in INPUTS)
    write = tables.begin(EMBEDDING_QUALITY, run_id, [features, model, components])
    digest = joint_digest(components.statistics.digest, str(most_images), *digests_of(candidate))
    if quality_files.is_current(write, digest):
        return Change.none(write)
    quality = measure(read(features, components, most_images), load_current(model))
    statistics = quality_files.save(quality, write.location, digest)
    other = {} if candidate is None else {"candidate": _quality(candidate, most_images)}
    details = {
        "accuracy": _accuracy_table({"current": quality} | other),
        "questions not asked": _skipped_table(quality),
        "explained variance by components": _variance_table(quality),
        "images compared": quality.sampled,
    }
    return Change(write, statistics, images=quality.sampled, started=started, details=details)


def _quality(tables: Tables, most_images: int) -> Quality:
    features, model, components = (tables.current(name) for name in INPUTS)
    return measure(read(features, components, most_images), load_current(model))


def _accuracy_table(models: Mapping[str, Quality]) -> dg.TableMetadataValue:
    """The share of held-out images that are classified correctly: a column per question and model.

    Each measure is a row, because there are more measures than columns that fit the page.
    """
    columns = {
        answer.question if len(models) == 1 else f"{answer.question}, {name} model": cells
        for name, quality in models.items()
        for answer in quality.answers
        if (cells := _cells(answer))
    }
    lengths = sorted({str(quality.n_components) for quality in models.values()})
    k = f"{' or '.join(lengths)} components"
    measures = (
        "held out together",
        "images",
        "classes",
        "most frequent class",
        "5-NN, 1,280 features",
        f"5-NN, {k}",
        "linear, 1,280 features",
        f"linear, {k}",
    )
    rows = [
        {"measure": measure} | {name: cells[index] for name, cells in columns.items()}
        for index, measure in enumerate(measures)
    ]
    return rows_table(rows, dict.fromkeys(("measure", *columns), "string"))


def _cells(answer: Answer) -> list[str]:
    """The cells of one column; none if the images cannot answer the question."""
    scores = answer.scores
    if scores is None:
        return []
    shares = (
        scores.most_frequent,
        scores.neighbours_of_features,
        scores.neighbours_of_components,
        scores.probe_of_features,
        scores.probe_of_components,
    )
    counts = (f"{scores.images:,}", f"{scores.classes:,}")
    return [answer.held_out, *counts, *(f"{share:.1%}" for share in shares)]


def _skipped_table(quality: Quality) -> dg.TableMetadataValue:
    """Questions that these images cannot answer, and why."""
    rows = [
        {"question": answer.question, "held out together": answer.held_out, "reason": reason}
        for answer in quality.answers
        if (reason := answer.reason_not_asked)
    ]
    return rows_table(rows, dict.fromkeys(("question", "held out together", "reason"), "string"))


def _variance_table(quality: Quality) -> dg.TableMetadataValue:
    """The variance kept by the first components, and the number needed for common shares."""
    points = {int(count): f"{share:.2%}" for count, share in quality.curve.items()}
    points |= {
        count: f"at least {float(share):.0%}" for share, count in quality.components_for.items()
    }
    rows: list[dict[str, str | int]] = [
        {"components": count, "explained variance": share}
        for count, share in sorted(points.items())
    ]
    return rows_table(rows, {"components": "int", "explained variance": "string"})
