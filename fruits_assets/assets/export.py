"""`csv_export`: the components for people and spreadsheets."""

import dagster as dg

from fruits_assets.io_managers import Table
from spark_src.export import flatten
from spark_src.progress import Work


@dg.asset(
    io_manager_key="csv_files", group_name="fruits", kinds={"pyspark", "csv"}, code_version="1"
)
def csv_export(pca_components: Table) -> Work:
    """One CSV file: a header, then a row for each image."""
    version = pca_components.version
    n_components = version.facts["n_components"]
    rows = flatten(pca_components.frame, n_components)
    return Work(rows, version.rows, facts={"n_components": n_components})
