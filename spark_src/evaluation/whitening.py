"""Whitens features, so that cosines distinguish copies from similar pictures. No files.

Fruits differ mainly in a few directions. After scaling all directions to the same variance, the
others count as well. In these, copies of a picture agree but different pictures of a kind do not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_src.pca.model import Sums

DIRECTIONS = 256
"""Maximum number of principal directions. More directions find hardly more planted copies, and are
slower."""

Units = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Whitening:
    """A whitening transformation of features."""

    mean: NDArray[np.float64]
    """(1280,)"""
    matrix: NDArray[np.float64]
    """(1280, directions)"""
    digest: str
    """Digest of the sums it was computed from."""

    @classmethod
    def from_sums(cls, sums: Sums) -> Whitening:
        """Compute the transformation from the covariance of the sums."""
        variances, directions = np.linalg.eigh(sums.covariance)
        variances, directions = variances[::-1], directions[:, ::-1]
        sound = int((variances > 1e-9 * max(variances[0], 1e-12)).sum())
        kept = max(1, min(DIRECTIONS, sums.n_images - 1, sound))
        scales = np.sqrt(np.maximum(variances[:kept], 1e-12))
        parts = (str(sums.n_images).encode(), sums.total.tobytes(), sums.gram.tobytes())
        digest = hashlib.sha256(b" ".join(parts)).hexdigest()
        return cls(sums.mean, directions[:, :kept] / scales, digest)

    def units(self, features: NDArray[np.float32]) -> Units:
        """Unit vectors, (n, directions), in half precision: cosines are accurate to 0.0005."""
        vectors = (features - self.mean) @ self.matrix
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        found: Units = (vectors / np.maximum(norms, 1e-12)).astype(np.float16)
        return found
