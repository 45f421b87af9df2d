"""`csv_export`: the components for people and spreadsheets."""

import time
from functools import partial

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import ON_UPSTREAM_UPDATE
from fruits_assets.failures import one_sentence
from fruits_assets.resources import AssetStorage, Launcher, count_cores
from spark_src.tables import csv
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.statistics import ComponentsStatistics, joint_digest


class ExportConfig(dg.Config):
    """What a spreadsheet wants."""

    byte_order_mark: bool = Field(
        False, description="Begin the file with what tells Excel that it is UTF-8."
    )


@dg.asset(
    deps=["pca_model"],  # so that `pca_model+`, which is one layer, exports as well
    io_manager_key="delta",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("results", "spark", "derived"),
    kinds={"pyspark", "csv"},
    code_version="1",
    automation_condition=ON_UPSTREAM_UPDATE,
)
@one_sentence
def csv_export(
    context: dg.AssetExecutionContext,
    config: ExportConfig,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,
    storage: AssetStorage,
    pca_components: Snapshot,
) -> dg.Output[Change]:
    """The components as one CSV file, for people and spreadsheets: no asset reads it.

    A header, then a row for each image.
    """
    write = storage.tables.begin("csv_export", context.run_id, [pca_components])
    change = csv_change(write, pca_components, pyspark, config.byte_order_mark)
    return dg.Output(change, data_version=dg.DataVersion(change.digest))


def csv_change(
    write: TableWrite,
    components: Snapshot,
    pyspark: LazyPySparkResource,
    byte_order_mark: bool | None = None,
) -> Change:
    """The file, written beside the one that is current.

    Args:
        write: of `csv_export`.
        components: what it holds.
        pyspark: writes it.
        byte_order_mark: whether it begins with one; None: as the current file does.
    """
    started, known = time.monotonic(), components.typed(ComponentsStatistics)
    if byte_order_mark is None:
        byte_order_mark = csv.has_byte_order_mark(write.location / csv.FILE)
    digest = joint_digest(known.digest, csv.FORMAT, *(["BOM"] if byte_order_mark else []))
    if csv.is_current(write, digest):
        return Change.none(write)
    spark: SparkSession = pyspark.spark_session
    rows = csv.flatten(spark, components, known.n_components, byte_order_mark)
    staged = csv.write_staged(rows, write.location, write.run_id)
    statistics = csv.statistics_of(staged, digest, components)
    replace = partial(csv.replace_file, staged, write.location)
    return Change(
        write,
        statistics,
        images=components.rows,
        cores=count_cores(pyspark),
        started=started,
        cleanup=replace,
    )
