"""Converts feature vectors between NumPy matrices and Arrow lists. Does not import Spark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_src.errors import PcaError

FEATURES = 1280
"""Length of a feature vector."""


def float_lists(values: NDArray[np.float32]) -> pa.ListArray:
    """A matrix as an Arrow list array, one list per row; the buffer is shared."""
    count, length = values.shape
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def malformed_error(rows: int) -> PcaError:
    """The error for rows without a valid feature vector."""
    return PcaError(
        f"{rows:,} feature vectors do not have {FEATURES:,} numbers. Recompute them with: "
        "uv run dagster asset materialize --select mobilenet_features"
    )


def to_matrix(column: pa.Array) -> NDArray[np.float32]:
    """An Arrow column of feature lists as a matrix (n, 1280).

    Raises:
        PcaError: a list has a wrong length, or is null.
    """
    malformed = count_malformed(column)
    if malformed:
        raise malformed_error(malformed)
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, FEATURES)


def count_malformed(column: pa.Array) -> int:
    """How many rows of a column of feature lists are null or have a wrong length."""
    lengths = np.asarray(column.drop_null().value_lengths())
    return int(column.null_count + (lengths != FEATURES).sum())


def float_matrix(column: pa.ChunkedArray, length: int) -> NDArray[np.float32]:
    """A column of lists of the given length as a matrix."""
    flat = column.combine_chunks().flatten() if len(column) else pa.array([], pa.float32())
    return np.asarray(flat, np.float32).reshape(-1, length)
