"""Files of a PCA model: a one-row Parquet table, the model in Spark ML's format, and the sums."""

from __future__ import annotations

import io
import json
import time
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel, Sums
from spark_src.tables.parquet import write_whole
from spark_src.tables.vectors import FEATURES

FILE = "pca_model.parquet"
SPARK_ML = "spark_ml"

SCHEMA = pa.schema(
    [
        ("mean", pa.list_(pa.float64())),
        ("components", pa.list_(pa.list_(pa.float64()))),
        ("explained_variance_ratio", pa.list_(pa.float64())),
        ("n_images", pa.int64()),
        ("model_sha256", pa.string()),
    ]
)

_TRIANGLE = np.triu_indices(FEATURES)


@dataclass(frozen=True)
class StoredSums:
    """Sums, and the files of `mobilenet_features` that they include."""

    sums: Sums
    files: frozenset[str]
    split: str | None
    """The split that they include; None: all images."""


def save(pca: PcaModel, folder: Location) -> None:
    """Write the model as a Parquet table of one row."""
    row = {
        "mean": pca.mean.tolist(),
        "components": pca.components.tolist(),
        "explained_variance_ratio": pca.explained_variance_ratio.tolist(),
        "n_images": pca.n_images,
        "model_sha256": pca.model_sha256,
    }
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), content, write_page_checksum=True)
    write_whole(folder / FILE, content.getvalue())


def load(folder: Location) -> PcaModel:
    """Read what `save` wrote.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = folder / FILE
    try:
        content = io.BytesIO(file.read())
        table = pq.ParquetFile(content, page_checksum_verification=True).read()
        row = table.select(SCHEMA.names).to_pylist()[0]
    except (OSError, pa.ArrowException, IndexError, KeyError) as error:
        raise unreadable_error(file, error) from error
    return PcaModel(
        mean=np.array(row["mean"]),
        components=np.array(row["components"]),
        explained_variance_ratio=np.array(row["explained_variance_ratio"]),
        n_images=row["n_images"],
        model_sha256=row["model_sha256"],
    )


def unreadable_error(file: Location, error: Exception) -> UnreadableVersionError:
    """The error to raise if a file of `pca_model` is missing or damaged."""
    return UnreadableVersionError(
        f"{file} cannot be read ({error}). Fit PCA again with: uv run fruits run "
        "--select 'pca_model+' --set pca_model.refit=true"
    )


def save_sums(stored: StoredSums, file: Location) -> None:
    """Write the sums for later updates. Only half of the symmetric Gram matrix is stored.

    Not compressed: that would take 0.7 s to save a quarter of 6.6 MB.
    """
    content = io.BytesIO()
    np.savez(
        content,
        n_images=stored.sums.n_images,
        total=stored.sums.total,
        gram=stored.sums.gram[_TRIANGLE],
        files=np.array(sorted(stored.files), dtype=np.str_),
        split=np.array([] if stored.split is None else [stored.split], dtype=np.str_),
    )
    write_whole(file, content.getvalue())


def load_sums(file: Location) -> StoredSums:
    """Read what `save_sums` wrote.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(file.read()), allow_pickle=False) as stored:
            gram = np.zeros((FEATURES, FEATURES), np.int64)
            gram[_TRIANGLE] = stored["gram"]
            gram.T[_TRIANGLE] = stored["gram"]
            sums = Sums(int(stored["n_images"]), stored["total"], gram)
            split = next((str(name) for name in stored["split"]), None)
            return StoredSums(sums, frozenset(map(str, stored["files"])), split)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable_error(file, error) from error


def save_spark_ml(pca: PcaModel, folder: Location) -> None:
    """Write the model in the format that `pyspark.ml.feature.PCAModel.load` reads.

    Its `transform` does not subtract the mean: subtract `PcaModel.mean` first. PyArrow writes the
    file, because the first query of a new JVM takes 5 s.
    """
    from pyspark.ml.linalg import DenseMatrix, DenseVector, MatrixUDT, VectorUDT  # takes 0.5 s

    loadings = DenseMatrix(FEATURES, pca.n_components, pca.components.ravel())
    variance = DenseVector(pca.explained_variance_ratio[: pca.n_components])
    values = {"pc": (MatrixUDT(), loadings), "explainedVariance": (VectorUDT(), variance)}
    schema = StructType([StructField(name, kind) for name, (kind, _) in values.items()])
    columns = to_arrow_schema(schema)
    row = {
        name: dict(zip(_fields(columns, name), kind.serialize(value), strict=True))
        for name, (kind, value) in values.items()
    }
    # Spark takes the columns' types from this key of the file.
    types = {"org.apache.spark.sql.parquet.row.metadata": schema.json()}
    table = pa.Table.from_pylist([row], columns.with_metadata(types))
    content = io.BytesIO()
    pq.write_table(table, content)
    write_whole(folder / SPARK_ML / "data" / "part-00000.snappy.parquet", content.getvalue())
    description = {
        "class": "org.apache.spark.ml.feature.PCAModel",
        "timestamp": time.time_ns() // 1_000_000,
        "sparkVersion": pyspark.__version__,
        "uid": "fruits_pca",
        "paramMap": {"k": pca.n_components, "inputCol": "features", "outputCol": "pca"},
        "defaultParamMap": {"outputCol": "fruits_pca__output"},
    }
    metadata = folder / SPARK_ML / "metadata" / "part-00000"
    write_whole(metadata, f"{json.dumps(description)}\n".encode())


def _fields(schema: pa.Schema, column: str) -> list[str]:
    return [field.name for field in schema.field(column).type]
