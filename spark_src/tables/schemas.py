"""Columns of the tables: their types and their meaning."""

from __future__ import annotations

import pyarrow as pa


def _column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


_TIMESTAMP = pa.timestamp("us", tz="UTC")

_KEYS = [
    _column("image_id", pa.string(), "sha256 of the stored content, hex"),
    _column("path", pa.string(), "path relative to the input"),
    _column(
        "split", pa.string(), "Training, Test or Validation, from the first folder; otherwise null"
    ),
    _column(
        "label",
        pa.string(),
        "the picture's folder; for a person's photo, the folder below the person",
    ),
]

KEYS = tuple(field.name for field in _KEYS)

_SOURCE = [
    _column("source_bytes", pa.int64(), "size of the file when it was read"),
    _column("source_modified", _TIMESTAMP, "modification time of the file when it was listed"),
    _column("source_etag", pa.string(), "the object's ETag in S3; null on disk"),
]

_ORIENTATION = _column("orientation", pa.int32(), "EXIF orientation, 1 to 8")

RAW_IMAGES = pa.schema(
    [
        *_KEYS,
        _column(
            "content", pa.binary(), "a JPEG or PNG without metadata, no larger than FRUITS_MAX_SIDE"
        ),
        _column("width", pa.int32(), "width as stored"),
        _column("height", pa.int32(), "height as stored"),
        _ORIENTATION,
        *_SOURCE,
    ]
)

REJECTED_IMAGES = pa.schema(
    [
        _column("path", pa.string(), "path relative to the input"),
        _column("bytes", pa.int64(), "size of the file"),
        _column("reason", pa.string(), "reason code"),
        _column("detail", pa.string(), "what was found, and what to do about it"),
        *_SOURCE[1:],
    ]
)

MOBILENET_FEATURES = pa.schema(
    [
        *_KEYS,
        _ORIENTATION,
        _column("features", pa.list_(pa.float32()), "1,280 MobileNetV2 features"),
        _column("model_sha256", pa.string(), "sha256 of the model file"),
    ]
)

PCA_COMPONENTS = pa.schema(
    [
        *_KEYS,
        _column("pca", pa.list_(pa.float32()), "principal components, mean subtracted"),
        _column("pca_model", pa.string(), "digest of the PCA model"),
    ]
)

ARTIFACT = pa.schema(
    [
        _column("file", pa.string(), "name of the current file or folder, relative to the asset's"),
        _column("details", pa.string(), "what is known of it, as JSON"),
    ]
)
"""The one-row table of an asset that is a file: it names the current one."""


def csv_schema(n_components: int) -> pa.Schema:
    """The columns of `csv_export`: the keys and one column per component."""
    numbers = [
        _column(f"pca_{index}", pa.float32(), f"principal component {index + 1}")
        for index in range(n_components)
    ]
    return pa.schema([*_KEYS, *numbers])


def type_name(kind: pa.DataType) -> str:
    """A column's type in the notation of Spark SQL and Delta."""
    if pa.types.is_list(kind):
        return f"array<{type_name(kind.value_type)}>"
    names = {
        pa.int32(): "int",
        pa.int64(): "bigint",
        pa.float32(): "float",
        _TIMESTAMP: "timestamp",
    }
    return names.get(kind, str(kind))
