"""Exact nearest-neighbour search for a picture among the current images, by components.

The components of a million images are 200 MB, which is fast enough without an index. An index would
also have to be rebuilt by every erasure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_src.embed import embedding
from spark_src.features import files
from spark_src.features.model import MobilenetModel
from spark_src.images.layout import are_photos
from spark_src.images.rejection import Limits
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.pca.fit import load_current, require_projected
from spark_src.pca.model import PcaModel
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.registry import MOBILENET_MODEL, PCA_COMPONENTS, PCA_MODEL
from spark_src.tables.vectors import float_matrix

RESULT_COLUMNS = ["path", "split", "label", "image_id"]
MATCHES = 12


@dataclass(frozen=True, eq=False)
class Searcher:
    """The components of all searchable images, in memory."""

    keys: pa.Table
    """path, split, label, image_id"""
    components: NDArray[np.float32]
    """(n, n_components)"""
    squares: NDArray[np.float32]
    """(n,): squared norms of the components."""
    model: MobilenetModel
    pca: PcaModel

    @classmethod
    def open(cls, tables: Tables, show_photos: bool = False) -> Searcher:
        """Read the current tables.

        Args:
            tables: the storage.
            show_photos: whether to include people's photos.

        Raises:
            NothingStoredError: an asset was never materialized.
            PcaError: the PCA model was fitted again since the components were computed.
            UnreadableVersionError: a file is damaged or missing.
        """
        components = tables.current(PCA_COMPONENTS)
        model = files.load(tables.current(MOBILENET_MODEL))
        pca = load_current(tables.current(PCA_MODEL))
        require_projected(components, pca)
        return cls.from_snapshot(components, model, pca, show_photos)

    @classmethod
    def from_snapshot(
        cls, components: Snapshot, model: MobilenetModel, pca: PcaModel, show_photos: bool
    ) -> Searcher:
        """Read a version of `pca_components`."""
        rows = read_rows(components, [*RESULT_COLUMNS, "pca"])
        if not show_photos:
            rows = rows.filter(pc.invert(are_photos(rows["path"])))
        matrix = float_matrix(rows["pca"], pca.n_components)
        squares = np.einsum("ij,ij->i", matrix, matrix)
        return cls(rows.select(RESULT_COLUMNS).combine_chunks(), matrix, squares, model, pca)

    def search(
        self, content: bytes, matches: int = MATCHES, limits: Limits = DEFAULT_LIMITS
    ) -> pd.DataFrame:
        """The images nearest to a picture, in order of distance: `RESULT_COLUMNS` and `distance`.

        Args:
            content: a picture file's bytes.
            matches: maximum number of images.
            limits: the limits used by ingest.

        Raises:
            UnusablePictureError: ingest would reject the file.
            PcaError: the PCA was fitted on features of another model.
        """
        return self.nearest(embedding(content, self.model, self.pca, limits).components, matches)

    def nearest(self, components: NDArray[np.float32], matches: int = MATCHES) -> pd.DataFrame:
        """Like `search`, for given components: (n_components,)."""
        squared = self.squares - 2 * (self.components @ components)
        count = min(matches, len(squared))
        indices = np.argpartition(squared, count - 1)[:count] if count else np.zeros(0, np.int64)
        # Compute distances directly: subtracting squared norms would lose precision.
        distances = np.linalg.norm(self.components[indices] - components, axis=1)
        order = np.lexsort((indices, distances))
        found = self.keys.take(pa.array(indices[order])).to_pandas()
        return found.assign(distance=distances[order])


@lru_cache(maxsize=1)
def open_cached(
    root: str,
    state: tuple[str, ...],  # noqa: ARG001 - part of the cache key
    show_photos: bool,
) -> Searcher:
    """The searcher of a storage, cached per state of its tables."""
    from spark_src.io.locations import Location

    return Searcher.open(Tables(Location.parse(root)), show_photos)


def state_of(tables: Tables) -> tuple[str, ...]:
    """The versions of the searched tables, as a cache key."""
    names = (MOBILENET_MODEL, PCA_MODEL, PCA_COMPONENTS)
    return tuple(tables.current(name).record.id for name in names)
