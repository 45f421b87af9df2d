"""`raw_images` and `rejected_images`: every file under the input is in exactly one of them."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark import Accumulator
from pyspark.sql import DataFrame

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.assets._together import selected_outputs
from fruits_assets.io_managers import ParquetIOManager
from fruits_assets.resources import Launcher, PictureSource
from spark_src.images import ingest as pictures
from spark_src.images.validate import Limits
from spark_src.io.aws import explained
from spark_src.spark.progress import Work
from spark_src.spark.session import write_table


class IngestConfig(dg.Config):
    """What is too large, and when too much is broken."""

    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="The run fails when a greater share of the files is rejected."
    )
    max_bytes: int = Field(Limits.max_bytes, gt=0, description="Larger files are rejected, unread.")
    max_pixels: int = Field(
        Limits.max_pixels, gt=0, description="Larger pictures are rejected, undecoded."
    )


@dg.multi_asset(
    outs={
        "rejected_images": dg.AssetOut(
            description="One row for each file under FRUITS_INPUT that is no usable picture, and "
            "why. Together with `raw_images` these are all the files there.",
            io_manager_key="tables",
            owners=OWNERS,
            tags=tags("ingest", "spark", "paths"),
            kinds={"pyspark", "parquet"},
            code_version="1",
            is_required=False,
        ),
        "raw_images": dg.AssetOut(
            description="Every picture under FRUITS_INPUT, one row each: decoded once to see that "
            "it can be, its pixels untouched, its metadata (EXIF and the like) removed.",
            io_manager_key="tables",
            owners=OWNERS,
            tags=tags("ingest", "spark", "photos"),
            kinds={"pyspark", "parquet"},
            code_version="1",
            is_required=False,
        ),
    },
    can_subset=True,
    group_name=GROUP,
)
def ingest(
    context: dg.AssetExecutionContext,
    config: IngestConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    source: PictureSource,
    tables: dg.ResourceParam[ParquetIOManager],
) -> Iterator[dg.Output[Work]]:
    """Decode every file under the input once; sort it into pictures and rejects."""
    listed = source.listed
    context.log.info(f"{listed.files:,} files, {listed.bytes:,} bytes under {listed.root}")
    done = pyspark.spark_context.accumulator(0)
    limits = Limits(config.max_bytes, config.max_pixels)
    inspected = pictures.inspect(pyspark.spark_session, listed, limits, done)
    outputs = _outputs(inspected, listed, config, done)
    io_managers = {"raw_images": tables, "rejected_images": tables}
    try:
        yield from selected_outputs(context, outputs, io_managers)
    finally:
        inspected.unpersist()


def _outputs(
    inspected: DataFrame, listed: pictures.Source, config: IngestConfig, done: Accumulator[int]
) -> Iterator[dg.Output[Work]]:
    """The ledger first: it is there to be read when there is too much in it."""
    uri = {"input": listed.root.uri}
    facts = uri | {"input_files": listed.files}
    write = partial(write_table, pictures.rejected(inspected), "rejected_images")
    ledger = Work(write, listed.files, done, facts)
    yield dg.Output(ledger, "rejected_images", metadata=uri)

    accepted = pictures.accepted(inspected)
    with explained(f"reading {listed.root}"):
        rejected = listed.files - accepted.count()
        digest = pictures.content_digest(accepted)
    pictures.require_few_rejections(rejected, listed, config.max_rejected_share)
    write = partial(write_table, accepted, "raw_images")
    facts |= {"digest": digest, "largest_file": min(listed.largest, config.max_bytes)}
    images = Work(write, listed.files, facts=facts, started=ledger.started)
    yield dg.Output(images, "raw_images", metadata=uri, data_version=dg.DataVersion(digest))
