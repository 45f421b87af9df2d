"""`raw_images` and `rejected_images`: each input file is in one of them, unless it is ignored."""

import time
from collections.abc import Iterator

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.assets.input_pictures import INPUT_PICTURES
from fruits_assets.assets.partial_selection import selected_outputs
from fruits_assets.failures import one_sentence
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.resources import (
    AssetStorage,
    Launcher,
    PictureSource,
    count_cores,
    picture_counter,
)
from spark_src.errors import FruitsError
from spark_src.images.labels import read_labels
from spark_src.images.plan import count_values, plan_ingest
from spark_src.images.refresh import (
    raw_change,
    read_new,
    rejected_change,
    rejected_table,
    require_few_rejections,
    require_separate,
)
from spark_src.images.rejection import Limits
from spark_src.images.summary import Summary, summarise
from spark_src.spark.progress import report_message, report_progress
from spark_src.tables.change import Change
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import discard
from spark_src.tables.registry import RAW_IMAGES, REJECTED_IMAGES


class IngestConfig(AssetConfig):
    """Size limits, and the tolerated share of rejected files."""

    max_rejected_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="With 50 files or more, the run fails when a larger share is rejected.",
    )
    max_bytes: int = Field(Limits.max_bytes, gt=0, description="Larger files are rejected, unread.")
    max_pixels: int = Field(
        Limits.max_pixels, gt=0, description="Larger pictures are rejected, undecoded."
    )


@dg.multi_asset(
    outs={
        REJECTED_IMAGES: catalog.REJECTED_IMAGES.out(
            "One row for each file under FRUITS_INPUT that is not a usable picture, with the "
            "reason. Together with `raw_images`, it accounts for all files of the input.",
        ),
        RAW_IMAGES: catalog.RAW_IMAGES.out(
            "Every picture under FRUITS_INPUT, one row each, without its metadata (EXIF etc.). "
            "Pictures up to FRUITS_MAX_SIDE (1,024 pixels) keep their pixels; larger ones are "
            "scaled down.",
        ),
    },
    deps=[INPUT_PICTURES],
    can_subset=True,
)
@one_sentence
def ingest(
    context: dg.AssetExecutionContext,
    config: IngestConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    source: PictureSource,
    delta: dg.ResourceParam[DeltaIOManager],
) -> Iterator[dg.Output[Change]]:
    """Read new and changed files, and sort them into pictures and rejected files."""
    limits = Limits(config.max_bytes, config.max_pixels, source.max_side)
    outputs = ingest_changes(context, pyspark, storage.tables, source, limits, config)
    yield from selected_outputs(context, outputs, delta)


def _report(context: dg.AssetExecutionContext, summary: Summary) -> None:
    """Log and show the layout found in the input, before any file is read."""
    context.log.info(str(summary))
    report_message(str(summary))
    if summary.warning:
        context.log.warning(summary.warning)
        report_message(f"warning: {summary.warning}")


def ingest_changes(
    context: dg.AssetExecutionContext,
    pyspark: LazyPySparkResource,
    tables: Tables,
    source: PictureSource,
    limits: Limits,
    config: IngestConfig,
) -> Iterator[dg.Output[Change]]:
    """Both changes, `rejected_images` first: it has the reasons if too many are rejected."""
    started = time.monotonic()
    rejected, raw = (
        tables.begin(name, context.run.run_id) for name in (REJECTED_IMAGES, RAW_IMAGES)
    )
    require_separate(source.root, tables.root)
    listing = source.listing()
    _report(context, summarise(listing))
    labels = read_labels(source.root).among(listing.files["path"])
    if labels.n_unknown:
        context.log.warning(
            f"{labels.n_unknown:,} rows of labels.csv name files that are not in the input."
        )
    plan = plan_ingest(listing, limits, raw.before, rejected.before, labels)
    context.log.info(str(plan))
    with report_progress(plan.to_read.num_rows, context.log.info) as progress:
        counter = lambda: progress.counts(picture_counter(pyspark))  # noqa: E731
        result = read_new(lambda: pyspark.spark_session, plan, raw, counter)
    rows = rejected_table(plan, result)
    change = rejected_change(plan, rejected, rows, started)
    yield dg.Output(change, REJECTED_IMAGES)

    details = {
        "rejected files by reason": count_values(rows["reason"]),
        "table of rejected files": rejected.location.uri,
    }
    try:
        require_few_rejections(rows.num_rows, plan.listing, config.max_rejected_share, details)
        change = raw_change(plan, result, raw, rows.num_rows, started, count_cores(pyspark))
    except FruitsError:
        discard(raw.folder, result.files)
        raise
    version = dg.DataVersion(change.digest)
    yield dg.Output(change, RAW_IMAGES, data_version=version)
