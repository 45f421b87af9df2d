"""`csv_export`: the components for people and spreadsheets."""

import time
from functools import partial

import dagster as dg

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import ON_UPSTREAM_UPDATE
from fruits_assets.resources import AssetStorage, Launcher
from spark_src.tables import csv
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.statistics import ComponentsStatistics, joint_digest


@dg.asset(
    deps=["pca_model"],  # so that `pca_model+`, which is one layer, exports as well
    io_manager_key="delta",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("results", "spark", "derived"),
    kinds={"csv"},
    code_version="1",
    automation_condition=ON_UPSTREAM_UPDATE,
)
def csv_export(
    context: dg.AssetExecutionContext,
    step_launcher: Launcher,
    storage: AssetStorage,
    pca_components: Snapshot,
) -> dg.Output[Change]:
    """The components as one CSV file, for people and spreadsheets: no asset reads it.

    A header, then a row for each image.
    """
    write = storage.tables.begin("csv_export", context.run_id, [pca_components])
    change = csv_change(write, pca_components)
    return dg.Output(change, data_version=dg.DataVersion(change.digest))


def csv_change(write: TableWrite, components: Snapshot) -> Change:
    """The file, written beside the one that is current."""
    started, known = time.monotonic(), components.typed(ComponentsStatistics)
    digest = joint_digest(known.digest)
    if csv.is_current(write, digest):
        return Change.none(write)
    staged = csv.write_staged(components, write.location, write.run_id)
    statistics = csv.statistics_of(staged, digest, components)
    replace = partial(csv.replace_file, staged, write.location)
    return Change(
        write,
        statistics,
        images=components.rows,
        started=started,
        cleanup=replace,
    )
