"""A PCA model's files: one Parquet row that any language reads, and Spark ML's own format."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel, Sums
from spark_src.tables.vectors import FEATURES

if TYPE_CHECKING:
    from pyspark.ml.feature import PCAModel as SparkPCAModel

FILE = "pca_model.parquet"
SPARK_ML = "spark_ml"
SUMS = "sums.npz"
"""NumPy's format: n, sum and Gram matrix in whole numbers of `pca.UNIT`."""

SCHEMA = pa.schema(
    [
        ("mean", pa.list_(pa.float64())),
        ("components", pa.list_(pa.list_(pa.float64()))),
        ("explained_variance_ratio", pa.list_(pa.float64())),
        ("images", pa.int64()),
        ("model", pa.string()),
        ("min_explained_variance", pa.float64()),
    ]
)


def save(pca: PcaModel, folder: Location) -> None:
    """Write the model as a Parquet table of one row."""
    row = {
        "mean": pca.mean.tolist(),
        "components": pca.components.tolist(),
        "explained_variance_ratio": pca.explained_variance_ratio.tolist(),
        "images": pca.images,
        "model": pca.model,
        "min_explained_variance": pca.min_explained_variance,
    }
    table = pa.Table.from_pylist([row], schema=SCHEMA)
    file = folder / FILE
    pq.write_table(table, file.path, filesystem=file.filesystem, write_page_checksum=True)


def load(folder: Location) -> PcaModel:
    """Read what `save` wrote.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = folder / FILE
    try:
        table = pq.read_table(
            file.path, filesystem=file.filesystem, page_checksum_verification=True
        )
        row = table.select(SCHEMA.names).to_pylist()[0]
    except (OSError, pa.ArrowException, IndexError, KeyError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Make a new one with: "
            "uv run dagster asset materialize --select 'pca_components+'"
        ) from error
    return PcaModel(
        mean=np.array(row["mean"]),
        components=np.array(row["components"]),
        explained_variance_ratio=np.array(row["explained_variance_ratio"]),
        images=row["images"],
        model=row["model"],
        min_explained_variance=row["min_explained_variance"],
    )


def save_sums(sums: Sums, folder: Location) -> None:
    """Write the sums that the model was fitted on, for a later update."""
    content = io.BytesIO()
    np.savez(content, images=sums.images, total=sums.total, gram=sums.gram)
    (folder / SUMS).write(content.getvalue())


def load_sums(folder: Location) -> Sums:
    """Read what `save_sums` wrote.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = folder / SUMS
    try:
        with np.load(io.BytesIO(file.read())) as stored:
            return Sums(int(stored["images"]), stored["total"], stored["gram"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Make a new one with: uv run dagster asset "
            "materialize --select 'pca_components+', with `refit: true` in the run's config."
        ) from error


def save_spark_ml(spark: SparkSession, pca: PcaModel, folder: Location) -> None:
    """Write the model as `pyspark.ml.feature.PCAModel.load` reads it."""
    spark_ml_model(spark, pca).write().save((folder / SPARK_ML).hadoop)


def spark_ml_model(spark: SparkSession, pca: PcaModel) -> SparkPCAModel:
    """The same model as a genuine `pyspark.ml.feature.PCAModel`, to save and to load in Spark.

    Its `transform` does not subtract the mean: subtract `PcaModel.mean` first.
    """
    from pyspark.ml.common import _py2java  # Spark ML takes 0.5 s: only who saves a model pays
    from pyspark.ml.feature import PCAModel as SparkPCAModel
    from pyspark.ml.linalg import DenseMatrix, DenseVector

    context = spark.sparkContext
    loadings = DenseMatrix(FEATURES, pca.n_components, pca.components.ravel())
    variance = DenseVector(pca.explained_variance_ratio[: pca.n_components])
    kind = context._jvm.org.apache.spark.ml.feature.PCAModel  # type: ignore[union-attr]
    java_model = kind("fruits_pca", _py2java(context, loadings), _py2java(context, variance))
    model = SparkPCAModel(java_model)
    model._transfer_params_from_java()
    model._set(k=pca.n_components)
    return model.setInputCol("features").setOutputCol("pca")
