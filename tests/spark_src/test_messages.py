"""Errors are kept by Dagster and in log files, so they contain no personal data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from spark_src.errors import UnreadableVersionError
from spark_src.features.inference import Engine, compute_features
from spark_src.features.model import MobilenetModel


@pytest.mark.parametrize(
    ("path", "named"),
    [("photos/anna-7f3/1.jpg", "a person's photo"), ("Training/Apple/1.jpg", "Apple/1.jpg")],
)
def test_a_damaged_stored_picture_is_named_unless_it_is_a_persons_photo(
    mobilenet: MobilenetModel, path: str, named: str
) -> None:
    batch = pa.RecordBatch.from_pylist([{"path": path, "content": b"broken", "orientation": 1}])
    with pytest.raises(UnreadableVersionError) as refused:
        compute_features(batch, Engine(mobilenet.content))
    assert named in str(refused.value)
    assert "anna" not in str(refused.value)
