"""Computes the components of a single picture, as in the tables, without Spark."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spark_src.errors import PcaError, UnusablePictureError
from spark_src.features.inference import Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import model_input
from spark_src.images.rejection import Limits, PictureRejected
from spark_src.images.validate import DEFAULT_LIMITS, clean_picture
from spark_src.pca.model import PcaModel

_ENGINES = 8
"""Number of cached engines, one per thread and model. Each takes 30 MB, and 20 ms to load."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """All intermediate results for a picture, to verify other implementations."""

    image_id: str
    """sha256 of the picture without metadata, as in the tables."""
    pixels: NDArray[np.float32]
    """(224, 224, 3), in [-1, 1]: the model's input."""
    features: NDArray[np.float32]
    """(1280,)"""
    components: NDArray[np.float32]
    """(n_components,)"""


def embed(
    content: bytes, model: MobilenetModel | bytes, pca: PcaModel, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """A picture's components, equal to its row of `pca_components` to 1e-6.

    Thread-safe: each thread uses a separate engine.

    Args:
        content: a picture file's bytes, as a user sends it.
        model: the LiteRT file, or its bytes.
        pca: fitted on features of the same model.
        limits: the limits used by ingest. `max_side` affects the result for larger pictures.

    Returns:
        float32, shape (n_components,).

    Raises:
        UnusablePictureError: ingest would reject the file.
        PcaError: the PCA was fitted on features of another model.
    """
    return embedding(content, model, pca, limits).components


def embedding(
    content: bytes, model: MobilenetModel | bytes, pca: PcaModel, limits: Limits = DEFAULT_LIMITS
) -> Embedding:
    """Like `embed`, with all intermediate results."""
    file = model if isinstance(model, bytes) else model.content
    engine, sha256 = _engine(file, threading.get_ident())
    if sha256 != pca.model_sha256:
        raise PcaError(
            f"The PCA was fitted on features of model {pca.model_sha256[:12]}, but this is model "
            f"{sha256[:12]}. Materialize mobilenet_features and its downstream assets."
        )
    try:
        picture = clean_picture(content, limits)
    except PictureRejected as rejection:
        raise UnusablePictureError(str(rejection), rejection.reason.value) from rejection
    pixels = model_input(picture.content, picture.orientation)
    features = engine.features(pixels[None])
    image_id = hashlib.sha256(picture.content).hexdigest()
    return Embedding(image_id, pixels, features[0], pca.project(features)[0])


@lru_cache(maxsize=_ENGINES)
def _engine(model: bytes, thread: int) -> tuple[Engine, str]:  # noqa: ARG001
    return Engine(model), hashlib.sha256(model).hexdigest()
