"""Columns of the tables and what they mean, and the check that a table has them."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from spark_src.errors import StorageError


def _column(name: str, kind: object, description: str) -> StructField:
    return StructField(name, kind, metadata={"comment": description})  # type: ignore[arg-type]


_KEYS = [
    _column("image_id", StringType(), "sha256 of the stored content, hex"),
    _column("path", StringType(), "path relative to the input"),
    _column("split", StringType(), "first folder, where there are two or more"),
    _column("label", StringType(), "parent folder"),
]

RAW_IMAGES = StructType(
    [
        *_KEYS,
        _column("content", BinaryType(), "the picture without metadata, pixels untouched"),
        _column("width", IntegerType(), "pixels, as stored"),
        _column("height", IntegerType(), "pixels, as stored"),
        _column("orientation", IntegerType(), "EXIF orientation, 1 to 8"),
    ]
)

REJECTED_IMAGES = StructType(
    [
        _column("path", StringType(), "path relative to the input"),
        _column("bytes", LongType(), "size of the file"),
        _column("reason", StringType(), "reason code"),
        _column("detail", StringType(), "what was found, and what to do about it"),
    ]
)

MOBILENET_FEATURES = StructType(
    [
        *_KEYS,
        _column("features", ArrayType(FloatType()), "1,280 MobileNetV2 features"),
        _column("model", StringType(), "sha256 of the model file"),
    ]
)

PCA_COMPONENTS = StructType(
    [*_KEYS, _column("pca", ArrayType(FloatType()), "principal components, mean subtracted")]
)

SCHEMAS = {
    "raw_images": RAW_IMAGES,
    "rejected_images": REJECTED_IMAGES,
    "mobilenet_features": MOBILENET_FEATURES,
    "pca_components": PCA_COMPONENTS,
}


def csv_schema(n_components: int) -> StructType:
    """The columns of `csv_export`: the keys and a number for each component."""
    numbers = [
        _column(f"pca_{index}", FloatType(), f"principal component {index + 1}")
        for index in range(n_components)
    ]
    return StructType([*_KEYS, *numbers])


def require_columns(frame: DataFrame, asset: str) -> DataFrame:
    """The table itself, once its columns are known to be those of the asset.

    Raises:
        StorageError: a column is missing, spare or of another type.
    """
    wanted = {f.name: f.dataType.simpleString() for f in SCHEMAS[asset].fields}
    found = {f.name: f.dataType.simpleString() for f in frame.schema.fields}
    if found == wanted:
        return frame
    raise StorageError(f"{asset} should have the columns {wanted}, but has {found}.")
