"""`embedding_quality`: what the numbers are worth, on the host, from small reads of storage."""

import time
from typing import Any

import dagster as dg
from pydantic import Field

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import ON_UPSTREAM_UPDATE
from fruits_assets.failures import one_sentence
from fruits_assets.resources import AssetStorage
from spark_src.evaluation import quality_files
from spark_src.evaluation.quality import MOST_IMAGES, Answer, Quality, Scores, measure, read
from spark_src.pca.fit import load_current
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import joint_digest


class QualityConfig(dg.Config):
    """How many images are looked at."""

    most_images: int = Field(
        MOST_IMAGES, gt=0, description="Of more, a sample of so many: the same ones each time."
    )


@dg.asset(
    deps=["mobilenet_features", "pca_model", "pca_components"],
    io_manager_key="delta",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("results", "host", "none"),
    kinds={"scikitlearn", "json"},
    code_version="1",
    automation_condition=ON_UPSTREAM_UPDATE,
)
@one_sentence
def embedding_quality(
    context: dg.AssetExecutionContext, config: QualityConfig, storage: AssetStorage
) -> dg.Output[Change]:
    """How well the numbers tell fruits apart: the components, and the features beside them.

    Asked only of fruits, rotation axes and people that were held out: no picture's neighbours help.
    """
    change, metadata = quality_change(storage.tables, context.run_id, config.most_images)
    return dg.Output(change, data_version=dg.DataVersion(change.digest), metadata=metadata)


def quality_change(
    tables: Tables, run_id: str, most_images: int = MOST_IMAGES
) -> tuple[Change, dict[str, Any]]:
    """The answers to every question, and what the UI shows of them."""
    started = time.monotonic()
    names = ("mobilenet_features", "pca_model", "pca_components")
    features, model, components = (tables.current(name) for name in names)
    write = tables.begin("embedding_quality", run_id, [features, model, components])
    digest = joint_digest(components.statistics.digest, str(most_images))
    if quality_files.is_current(write, digest):
        return Change.none(write), {}
    quality = measure(read(features, components, most_images), load_current(model))
    statistics = quality_files.save(quality, write.location, digest)
    metadata = {
        "quality": _table(quality),
        "explained variance by components": _curve(quality),
        "images compared": quality.sampled,
    }
    return Change(write, statistics, images=quality.sampled, started=started), metadata


def _table(quality: Quality) -> dg.MarkdownMetadataValue:
    """The shares told right; questions that cannot be asked are named below."""
    few, held_out = f"{quality.n_components} components", "on both sides never the same"
    columns = ["what is told", held_out, "images", "classes", "most frequent class"]
    columns += ["5-NN, 1,280 features", f"5-NN, {few}", "linear, 1,280 features", f"linear, {few}"]
    lines = [" | ".join(columns), " | ".join(["---"] * 2 + ["---:"] * 7)]
    lines += [
        " | ".join(_cells(answer, answer.scores)) for answer in quality.answers if answer.scores
    ]
    notes = [
        f"- *{answer.question}, other {answer.held_out}*: cannot be computed, "
        f"{answer.reason_not_asked}."
        for answer in quality.answers
        if answer.reason_not_asked
    ]
    table = "\n".join(f"| {line} |" for line in lines)
    return dg.MetadataValue.md("\n".join([table, "", *notes]))


def _cells(answer: Answer, scores: Scores) -> list[str]:
    shares = [
        scores.most_frequent,
        scores.neighbours_of_features,
        scores.neighbours_of_components,
        scores.probe_of_features,
        scores.probe_of_components,
    ]
    counts = [f"{scores.images:,}", str(scores.classes)]
    return [answer.question, answer.held_out, *counts, *(f"{share:.1%}" for share in shares)]


def _curve(quality: Quality) -> dg.MarkdownMetadataValue:
    lines = ["| components | explained variance |", "| ---: | ---: |"]
    lines += [f"| {count} | {share:.4f} |" for count, share in quality.curve.items()]
    lines += [
        f"| **{count}** | {float(share):.0%} |" for share, count in quality.components_for.items()
    ]
    return dg.MetadataValue.md("\n".join(lines))
