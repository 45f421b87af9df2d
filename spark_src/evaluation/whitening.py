"""Features in directions that vary alike: there, cosines tell copies from mere likeness. No files.

Fruits differ from each other in few directions. Scaled to the same variance, the others count, too,
in which two copies of a picture agree and two pictures of one kind do not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_src.pca.model import Sums

DIRECTIONS = 256
"""Principal directions that are used, or as many as the images have; with more, hardly more planted
copies are found, and all of the work takes longer."""

Units = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Whitening:
    """What makes features comparable."""

    mean: NDArray[np.float64]
    """(1280,)"""
    matrix: NDArray[np.float64]
    """(1280, directions)"""
    digest: str
    """Of the sums that it follows from."""

    @classmethod
    def of(cls, sums: Sums) -> Whitening:
        """By the covariance that the sums give."""
        variances, directions = np.linalg.eigh(sums.covariance)
        variances, directions = variances[::-1], directions[:, ::-1]
        sound = int((variances > 1e-9 * max(variances[0], 1e-12)).sum())
        kept = max(1, min(DIRECTIONS, sums.n_images - 1, sound))
        scales = np.sqrt(np.maximum(variances[:kept], 1e-12))
        parts = (str(sums.n_images).encode(), sums.total.tobytes(), sums.gram.tobytes())
        digest = hashlib.sha256(b" ".join(parts)).hexdigest()
        return cls(sums.mean, directions[:, :kept] / scales, digest)

    def units(self, features: NDArray[np.float32]) -> Units:
        """Vectors of length 1, (n, directions), at half the memory: cosines are right to 0.0005."""
        vectors = (features - self.mean) @ self.matrix
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: Units = (vectors / np.maximum(norms, 1e-12)).astype(np.float16)
        return units
