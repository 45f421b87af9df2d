"""The images of the current tables that are nearest to a picture, by their components. Exact.

A million images are 200 MB of components: comparing with all of them takes less time than an index
would save, and nothing lies about that an erasure would have to remake.
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
from spark_src.pca.fit import load_current
from spark_src.pca.model import PcaModel
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.vectors import float_matrix

KEYS = ["path", "split", "label", "image_id"]
MATCHES = 12


@dataclass(frozen=True, eq=False)
class Searcher:
    """The components of all images that may be shown, in memory."""

    keys: pa.Table
    """path, split, label, image_id"""
    components: NDArray[np.float32]
    """(n, n_components)"""
    squares: NDArray[np.float32]
    """(n,): of the components' lengths."""
    model: MobilenetModel
    pca: PcaModel

    @classmethod
    def open(cls, tables: Tables, show_photos: bool = False) -> Searcher:
        """Read the current tables.

        Args:
            tables: the storage.
            show_photos: whether what may be a person's is found, too.

        Raises:
            NothingStoredError: an asset was never made.
            UnreadableVersionError: a file is damaged or gone.
        """
        components = tables.current("pca_components")
        model = files.load(tables.current("mobilenet_model"))
        pca = load_current(tables.current("pca_model"))
        return cls.of(components, model, pca, show_photos)

    @classmethod
    def of(
        cls, components: Snapshot, model: MobilenetModel, pca: PcaModel, show_photos: bool
    ) -> Searcher:
        """Read a version of `pca_components`."""
        rows = read_rows(components, [*KEYS, "pca"])
        if not show_photos:
            rows = rows.filter(pc.invert(are_photos(rows["path"])))
        matrix = float_matrix(rows["pca"], pca.n_components)
        squares = np.einsum("ij,ij->i", matrix, matrix)
        return cls(rows.select(KEYS).combine_chunks(), matrix, squares, model, pca)

    def search(
        self, content: bytes, matches: int = MATCHES, limits: Limits = DEFAULT_LIMITS
    ) -> pd.DataFrame:
        """The nearest images to a picture, the nearest first: `KEYS` and `distance`.

        Args:
            content: a picture file's bytes.
            matches: how many.
            limits: as ingest's.

        Raises:
            UnusablePictureError: ingest would reject the file, for the same reason.
            PcaError: the PCA was fitted on features of another model.
        """
        return self.nearest(embedding(content, self.model, self.pca, limits).components, matches)

    def nearest(self, components: NDArray[np.float32], matches: int = MATCHES) -> pd.DataFrame:
        """The same for components: (n_components,)."""
        squared = self.squares - 2 * (self.components @ components)
        few = min(matches, len(squared))
        places = np.argpartition(squared, few - 1)[:few] if few else np.zeros(0, np.int64)
        # Of the few, exactly: where lengths are subtracted, small distances are rounded away.
        distances = np.linalg.norm(self.components[places] - components, axis=1)
        order = np.lexsort((places, distances))
        found = self.keys.take(pa.array(places[order])).to_pandas()
        return found.assign(distance=distances[order])


@lru_cache(maxsize=1)
def open_cached(
    root: str,
    state: tuple[str, ...],  # noqa: ARG001 - another state, another searcher
    show_photos: bool,
) -> Searcher:
    """The searcher of a storage, read once for each state of its tables."""
    from spark_src.io.locations import Location

    return Searcher.open(Tables(Location.parse(root)), show_photos)


def state_of(tables: Tables) -> tuple[str, ...]:
    """What tells one state of the tables that are searched from another."""
    names = ("mobilenet_model", "pca_model", "pca_components")
    return tuple(tables.current(name).record.id for name in names)
