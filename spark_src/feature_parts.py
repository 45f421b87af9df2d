"""Features as tasks finish them, a file each, until a version is made of them.

What a killed run had done is found here by the next one. A folder holds the parts of one recipe.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from spark_src.features.inference import Featurized
from spark_src.io.locations import Location
from spark_src.tables.vector_files import data_files, key_columns, write_vectors
from spark_src.tables.vectors import float_lists

FOLDER = "parts"
"""Under the asset's prefix; in it a folder a recipe."""

KEY = ("image_id", "orientation")
"""What of an image decides its features, the recipe given."""

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("orientation", pa.int32()),
        ("features", pa.list_(pa.float32())),
    ]
)


def recipe(model_sha256: str, pixels: str) -> str:
    """Names what makes features of pictures: the model and what it sees of them."""
    return hashlib.sha256(f"{model_sha256} {pixels}".encode()).hexdigest()[:16]


def index(folder: Location) -> pd.DataFrame:
    """Where the features of each finished picture are: `KEY`, file, row."""
    return key_columns(data_files(folder), KEY)


def save(work: Iterable[Featurized], folder: Location) -> Iterator[int]:
    """Write what one task featurizes into one part, whole or not at all; yield how many it has."""
    done = list(work)
    if not done:
        return
    pictures = pa.Table.from_batches([batch.select(KEY) for batch, _ in done])
    features = np.concatenate([features for _, features in done])
    columns = [*pictures.columns, float_lists(features)]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    _write_whole(table, folder, f"part-{uuid.uuid4().hex}.parquet")
    yield len(features)


def _write_whole(table: pa.Table, folder: Location, name: str) -> None:
    if folder.scheme == "s3":  # an object is there when it is whole
        write_vectors([table], folder / name, SCHEMA)
        return
    unfinished = folder / f".{name}"
    write_vectors([table], unfinished, SCHEMA)
    Path(unfinished.path).rename(folder.path + "/" + name)
