"""`embed`: compute the components of one picture in notebooks and scripts. No Dagster, no Spark."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from typing import TYPE_CHECKING, Any

from spark_src.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

N_NEIGHBOURS = 5
"""Number of nearest pictures whose labels are counted."""


def embed(
    picture: str | PathLike[str], storage: str | PathLike[str] | None = None
) -> NDArray[np.float32]:
    """The components of one picture, as `pca_components` would contain them.

    Args:
        picture: a file or an s3:// URI.
        storage: a folder or an s3:// URI; FRUITS_STORAGE by default.

    Returns:
        float32, shape (n_components,).

    Raises:
        FruitsError: the file is not a usable picture, or there are no models; the message has the
            remedy.
    """
    from fruits_assets.settings import settings_in_region
    from spark_src import embed as embedding
    from spark_src.images.rejection import Limits
    from spark_src.io.locations import Location

    root = None if storage is None else Location.parse(str(storage))
    settings = settings_in_region(root, also=[Location.parse(str(picture))])
    model, pca = current_models(root or settings.storage_location)
    return embedding.embed(
        read_picture(str(picture)), model, pca, Limits(max_side=settings.max_side)
    )


def read_picture(file: str) -> bytes:
    """A file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    from spark_src.io.locations import Location

    try:
        return Location.parse(file).read()
    except FileNotFoundError as error:
        raise InputError("there is no such file; give the path of a picture") from error
    except OSError as error:
        raise InputError(f"it cannot be read ({error}); give the path of a picture") from error


def current_models(root: Location) -> tuple[Any, Any]:
    """The current LiteRT model and PCA model, cached until they change."""
    from spark_src.tables.delta import Tables

    tables = Tables(root)
    versions = [tables.current(name).version for name in ("mobilenet_model", "pca_model")]
    return _models(root, *versions)


@lru_cache(maxsize=2)
def _models(root: Location, *_versions: int) -> tuple[Any, Any]:
    from spark_src.features import files
    from spark_src.pca.fit import load_current
    from spark_src.tables.delta import Tables

    tables = Tables(root)
    return files.load(tables.current("mobilenet_model")), load_current(tables.current("pca_model"))


@dataclass(frozen=True)
class NearestLabels:
    """The labels of the stored pictures whose components are nearest to a picture's."""

    labels: tuple[tuple[str, int], ...]
    """Labels with their counts among the `N_NEIGHBOURS` pictures, most frequent first."""

    def __str__(self) -> str:
        if not self.labels:
            return "no stored picture has a label"
        return ", ".join(f"{label} ({n} of {N_NEIGHBOURS})" for label, n in self.labels)


def nearest_labels(tables: Tables, vectors: NDArray[np.float32]) -> list[NearestLabels]:
    """The labels of the nearest stored pictures for each vector.

    Args:
        tables: the storage.
        vectors: shape (n, n_components).

    Returns:
        One result per vector, in order.

    Raises:
        PcaError: the PCA model was fitted again since `pca_components` was computed.
    """
    import numpy as np
    import pyarrow.compute as pc

    from spark_src.pca.fit import require_projected
    from spark_src.tables.reading import read_table

    _, pca = current_models(tables.root)
    require_projected(tables.current("pca_components"), pca)
    table = read_table(tables, "pca_components", ["label", "pca"], pc.field("label").is_valid())
    if not table.num_rows:
        return [NearestLabels(()) for _ in vectors]
    flat = table["pca"].combine_chunks().flatten()
    known = np.asarray(flat, np.float32).reshape(table.num_rows, -1)
    labels = table["label"].to_pylist()
    found = []
    for vector in vectors:
        distances = np.linalg.norm(known - vector, axis=1)
        near = np.argsort(distances, kind="stable")[:N_NEIGHBOURS]
        found.append(NearestLabels(tuple(Counter(labels[index] for index in near).most_common())))
    return found
