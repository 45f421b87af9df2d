"""`csv_export`: the components for people and spreadsheets."""

from functools import partial

import dagster as dg

from fruits_assets.assets._labels import GROUP, OWNERS, tags
from fruits_assets.automation import FOLLOWS
from fruits_assets.io_managers import Table
from fruits_assets.resources import Launcher
from spark_src.spark.progress import Work
from spark_src.tables.csv import flatten, write_csv
from spark_src.tables.statistics import joint_digest


@dg.asset(
    io_manager_key="csv_files",
    group_name=GROUP,
    owners=OWNERS,
    tags=tags("results", "spark", "derived"),
    kinds={"pyspark", "csv"},
    code_version="1",
    automation_condition=FOLLOWS,
)
def csv_export(step_launcher: Launcher, pca_components: Table) -> dg.Output[Work]:
    """The components as one CSV file, for people and spreadsheets: no asset reads it.

    A header, then a row for each image.
    """
    return csv_output(pca_components)


def csv_output(pca_components: Table) -> dg.Output[Work]:
    """The CSV of a table of components, to be computed when it is stored."""
    version = pca_components.version
    n_components = version.facts["n_components"]
    rows = flatten(pca_components.frame, n_components)
    digest = joint_digest(version.facts["digest"])
    facts = {"n_components": n_components, "digest": digest}
    work = Work(partial(write_csv, rows), version.rows, facts=facts)
    return dg.Output(work, data_version=dg.DataVersion(digest))
