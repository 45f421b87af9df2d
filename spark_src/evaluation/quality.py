"""Measures how well the embedding separates held-out fruits.

The questions and folds are defined in `folds`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_src.evaluation.folds import Folds, questions
from spark_src.evaluation.neighbours import nearest_to
from spark_src.pca.model import SHARES, PcaModel, components_for
from spark_src.tables.delta import Snapshot
from spark_src.tables.reading import read_rows

if TYPE_CHECKING:
    import pandas as pd

MOST_IMAGES = 6_000
"""Maximum number of images, sampled reproducibly: takes ten seconds instead of three minutes."""

NEIGHBOURS = 5

CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1280)
"""Numbers of components in the curve of explained variance."""

_TEXTS_AT_ONCE = 50_000

Matrix = NDArray[np.float32]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Vectors:
    """A sample of the images, with features and components."""

    images: pd.DataFrame
    """image_id, path and label, sorted by path."""
    features: Matrix
    """(n, 1280)"""
    components: Matrix
    """(n, n_components)"""
    n_images: int
    """Number of images the sample was drawn from."""


@dataclass(frozen=True)
class Scores:
    """The number of evaluated images, and accuracies from 0 to 1."""

    images: int
    classes: int
    most_frequent: float
    """Accuracy of always predicting the most frequent class."""
    neighbours_of_features: float
    neighbours_of_components: float
    probe_of_features: float
    probe_of_components: float


@dataclass(frozen=True)
class Answer:
    """The scores for one question, or the reason it does not apply."""

    question: str
    held_out: str
    reason_not_asked: str | None
    scores: Scores | None


@dataclass(frozen=True)
class Quality:
    """All scores, and the variance explained by the components."""

    answers: tuple[Answer, ...]
    images: int
    """Number of all images."""
    sampled: int
    """Number of images in the sample."""
    n_components: int
    components_for: dict[str, int]
    """Share of the variance -> number of components needed."""
    curve: dict[str, float]
    """Number of components -> share of the variance."""

    def record(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Quality:
        """Restore from a dictionary of `record`."""
        answers = [
            Answer(**{**answer, "scores": answer["scores"] and Scores(**answer["scores"])})
            for answer in record["answers"]
        ]
        return cls(**{**record, "answers": tuple(answers)})


def read(features: Snapshot, components: Snapshot, most: int = MOST_IMAGES) -> Vectors:
    """Read a sample of the images that have both vectors, each distinct picture once.

    The sample is ordered by path digests, so that a new image changes few others.

    Raises:
        UnreadableVersionError: a file is damaged or missing.
    """
    paths = _sample(read_rows(components, ["path", "image_id"]), most)
    chosen = pc.field("path").isin(paths)
    wide = read_rows(features, ["path", "features"], chosen)
    narrow = read_rows(components, ["image_id", "path", "label", "pca"], chosen)
    common = sorted(set(wide["path"].to_pylist()) & set(narrow["path"].to_pylist()))
    wide, narrow = (_rows(table, common) for table in (wide, narrow))
    images = narrow.select(["image_id", "path", "label"]).to_pandas()
    return Vectors(images, _matrix(wide["features"]), _matrix(narrow["pca"]), components.rows)


def measure(vectors: Vectors, pca: PcaModel) -> Quality:
    """Evaluate every question on the raw features and on the components."""
    shares = np.cumsum(pca.explained_variance_ratio)
    return Quality(
        answers=tuple(_answer(folds, vectors) for folds in questions(vectors.images)),
        images=vectors.n_images,
        sampled=len(vectors.images),
        n_components=pca.n_components,
        components_for={
            str(share): components_for(pca.explained_variance_ratio, share) for share in SHARES
        },
        curve={str(count): float(shares[count - 1]) for count in CURVE},
    )


def _sample(keys: pa.Table, most: int) -> pa.Array:
    """Paths of a sample of distinct pictures, without a Python object per image."""
    keys = keys.sort_by("path").combine_chunks()
    pictures = pc.dictionary_encode(keys["image_id"]).combine_chunks().indices.to_numpy()
    _, first = np.unique(pictures, return_index=True)
    paths = keys["path"].take(pa.array(np.sort(first))).combine_chunks()
    if len(paths) > most:
        paths = paths.take(pa.array(np.argsort(_digests(paths), kind="stable")[:most]))
    return paths


def _digests(texts: pa.Array) -> NDArray[np.uint64]:
    """The first eight bytes of each text's sha256."""
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts.slice(start, _TEXTS_AT_ONCE).to_pylist()
        digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in some)
        parts.append(np.frombuffer(digests, ">u8"))
    return np.concatenate(parts).astype(np.uint64)


def _answer(folds: Folds, vectors: Vectors) -> Answer:
    scores = None if folds.reason_not_asked else _scores(folds, vectors)
    return Answer(folds.question, folds.held_out, folds.reason_not_asked, scores)


def _scores(folds: Folds, vectors: Vectors) -> Scores:
    import pandas as pd  # takes 0.5 s

    features, components = vectors.features[folds.rows], vectors.components[folds.rows]
    evaluated = folds.target[folds.fold >= 0]
    counts = pd.Series(evaluated).value_counts()
    return Scores(
        images=len(evaluated),
        classes=len(counts),
        most_frequent=float(counts.iloc[0] / len(evaluated)),
        neighbours_of_features=cross_validated_accuracy(folds, features, _by_neighbours),
        neighbours_of_components=cross_validated_accuracy(folds, components, _by_neighbours),
        probe_of_features=cross_validated_accuracy(folds, features, _by_probe),
        probe_of_components=cross_validated_accuracy(folds, components, _by_probe),
    )


def cross_validated_accuracy(
    folds: Folds, vectors: Matrix, predict: Callable[[Matrix, Names, Matrix], Names]
) -> float:
    """Cross-validated accuracy, 0 to 1.

    Args:
        folds: the question.
        vectors: vectors of `folds.rows`, in order.
        predict: takes training vectors, their classes and test vectors; returns classes.
    """
    names = folds.target.astype(str)
    n_correct = 0
    for number in np.unique(folds.fold[folds.fold >= 0]):
        is_test = folds.fold == number
        predicted = predict(vectors[~is_test], names[~is_test], vectors[is_test])
        n_correct += int((predicted == names[is_test]).sum())
    return n_correct / int((folds.fold >= 0).sum())


def _by_neighbours(training: Matrix, names: Names, test: Matrix) -> Names:
    """The most frequent class among the nearest, or the first of several in alphabetical order."""
    classes, which = np.unique(names, return_inverse=True)
    near = which[nearest_to(test, training, min(NEIGHBOURS, len(training)))]
    votes = np.zeros((len(test), len(classes)), np.int64)
    np.add.at(votes, (np.arange(len(test))[:, None], near), 1)
    predicted: Names = classes[votes.argmax(axis=1)]
    return predicted


def _by_probe(training: Matrix, names: Names, test: Matrix) -> Names:
    """Linear discriminant analysis with Ledoit and Wolf's (2004) shrunk covariance.

    Implemented here because scikit-learn's pseudo-inverse takes 2 s per fold of 1,280 features.
    """
    classes, which, counts = np.unique(names, return_inverse=True, return_counts=True)
    means = np.stack([training[which == number].mean(axis=0) for number in range(len(classes))])
    covariance = shrunk_covariance(training - means[which])
    # With one image per class, the within-class covariance is zero.
    covariance += np.eye(len(covariance)) * (covariance.trace() / len(covariance) or 1) * 1e-6
    weights = np.linalg.solve(covariance, means.T)
    offsets = np.log(counts / len(names)) - (means.T * weights).sum(axis=0) / 2
    predicted: Names = classes[(test @ weights + offsets).argmax(axis=1)]
    return predicted


def shrunk_covariance(centred: Matrix) -> NDArray[np.float64]:
    """Ledoit and Wolf's (2004) covariance: shrunk towards the identity, depending on the noise.

    Equal to scikit-learn's, which needs a second matrix product for the sum of the products of all
    squared columns. That sum equals the sum of the fourth powers of the row norms.

    Args:
        centred: (n, length), with zero mean.

    Returns:
        (length, length)
    """
    n, length = centred.shape
    covariance: NDArray[np.float64] = (centred.T @ centred).astype(np.float64) / n
    squares, mean_variance = np.square(covariance).sum(), covariance.trace() / length
    fourth_powers = np.square(np.square(centred).sum(axis=1, dtype=np.float64)).mean()
    distance = squares - length * mean_variance**2
    shrinkage = min((fourth_powers - squares) / n / distance, 1.0) if distance > 0 else 0.0
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(length)] += shrinkage * mean_variance
    return covariance


def _rows(table: pa.Table, paths: list[str]) -> pa.Table:
    """The rows of these paths, in the same order."""
    rows = {path: row for row, path in enumerate(table["path"].to_pylist())}
    return table.take(pa.array([rows[path] for path in paths], pa.int64()))


def _matrix(column: pa.ChunkedArray) -> Matrix:
    length = len(column[0]) if len(column) else 0
    return np.asarray(column.combine_chunks().flatten(), np.float32).reshape(-1, max(length, 1))
