"""Stores the nearest labelled images of each with `label_issues`, and updates them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_src.evaluation.head import Matrix
from spark_src.evaluation.neighbours import UNKNOWN, Rows, nearest, update
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import write_whole
from spark_src.tables.statistics import LabelIssuesStatistics, joint_digest

if TYPE_CHECKING:
    import pandas as pd

VERSION = "1"
"""Version of the algorithm. Increase it if the same components give different neighbours."""

FILE = "neighbours.parquet"
_KEYS = ["path", "image_id"]


def digest_of(pca_model: str) -> str:
    """Digest of what must not change for an update."""
    return joint_digest(pca_model, VERSION)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest labelled images of each labelled image."""

    labelled: pd.DataFrame
    """Path and image_id of each, sorted by path."""
    near: Rows
    """(labelled, neighbours): the nearest of each, by position."""
    pca_model: str
    """Digest of the PCA model that the distances depend on."""

    def save(self, folder: Location) -> None:
        """Write the file."""
        import pandas as pd  # takes 0.5 s

        near = pd.DataFrame(self.near.astype(np.int32)).add_prefix("near_")
        table = pa.Table.from_pandas(self.labelled.join(near), preserve_index=False)
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd")
        write_whole(folder / FILE, content.getvalue())


def find_neighbours(
    images: pd.DataFrame, vectors: Matrix, pca_model: str, before: Snapshot | None
) -> Neighbours:
    """The nearest labelled images of each, from those of the previous version if they fit.

    Args:
        images: path, image_id and label of all images, sorted by path.
        vectors: (images, length): their components.
        pca_model: digest of the PCA model of the components.
        before: the current version of `label_issues`. Only images that it does not contain are
            compared with all others.
    """
    has_label = images["label"].notna().to_numpy(bool)
    labelled = images.loc[has_label, _KEYS].reset_index(drop=True)
    known = _load(before, digest_of(pca_model))
    if known is None:
        return Neighbours(labelled, nearest(vectors[has_label]), pca_model)
    near = update(vectors[has_label], _positions(labelled, known))
    return Neighbours(labelled, near, pca_model)


def _load(before: Snapshot | None, digest: str) -> pd.DataFrame | None:
    """The stored neighbours, or None if they cannot be updated."""
    if before is None or before.typed(LabelIssuesStatistics).neighbours != digest:
        return None
    try:
        content = (before.data_location / FILE).read()
        return pq.read_table(io.BytesIO(content)).to_pandas()
    except (OSError, pa.ArrowException):
        return None


def _positions(labelled: pd.DataFrame, known: pd.DataFrame) -> Rows:
    """(labelled, neighbours): the known neighbours of each image, by their new positions."""
    import pandas as pd  # takes 0.5 s

    earlier, current = (pd.MultiIndex.from_frame(rows[_KEYS]) for rows in (known, labelled))
    to_earlier, to_current = earlier.get_indexer(current), current.get_indexer(earlier)
    near = to_current[known.drop(columns=_KEYS).to_numpy(np.int64)]
    # `to_earlier` is -1 for images that are not among the known ones: the last row.
    unknown = np.full((1, near.shape[1]), UNKNOWN, np.int64)
    return np.asarray(np.vstack([near, unknown])[to_earlier], np.int64)
