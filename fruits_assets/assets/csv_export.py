"""`csv_export`: the components for people and spreadsheets."""

import time
from functools import partial

import dagster as dg
from pydantic import Field

from fruits_assets import catalog
from fruits_assets.asset_config import AssetConfig
from fruits_assets.resources import AssetStorage, Launcher
from spark_src.tables import csv
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.registry import CSV_EXPORT, PCA_MODEL
from spark_src.tables.statistics import ComponentsStatistics, joint_digest


class ExportConfig(AssetConfig):
    """Options of the CSV file."""

    byte_order_mark: bool = Field(
        False, description="Begin the file with a byte order mark, so that Excel reads it as UTF-8."
    )


@catalog.CSV_EXPORT.asset(
    deps=[PCA_MODEL],  # so that `pca_model+`, which selects one layer, includes the export
)
def csv_export(
    context: dg.AssetExecutionContext,
    config: ExportConfig,
    step_launcher: Launcher,
    storage: AssetStorage,
    pca_components: Snapshot,
) -> dg.MaterializeResult[Change]:
    """The components as one CSV file for people and spreadsheets; no asset reads it.

    A header, then one row per image.
    """
    write = storage.tables.begin(CSV_EXPORT, context.run.run_id, [pca_components])
    change = csv_change(write, pca_components, config.byte_order_mark)
    return dg.MaterializeResult(value=change, data_version=dg.DataVersion(change.digest))


def csv_change(
    write: TableWrite, components: Snapshot, byte_order_mark: bool | None = None
) -> Change:
    """Write the file next to the current one.

    Args:
        write: the write of `csv_export`.
        components: the rows to export.
        byte_order_mark: whether the file begins with one; None keeps the current file's choice.
    """
    started, known = time.monotonic(), components.typed(ComponentsStatistics)
    if byte_order_mark is None:
        byte_order_mark = csv.has_byte_order_mark(write.location / csv.FILE)
    digest = joint_digest(known.digest, csv.FORMAT, *(["BOM"] if byte_order_mark else []))
    if csv.is_current(write, digest):
        return Change.none(write)
    staged = csv.write_staged(components, write.location, write.run_id, byte_order_mark)
    statistics = csv.staged_statistics(staged, digest, components)
    replace = partial(csv.replace_file, staged, write.location)
    return Change(
        write,
        statistics,
        images=components.rows,
        started=started,
        cleanup=replace,
    )
