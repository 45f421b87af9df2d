"""Trains, evaluates and exports the classifier. Runs on the host."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from spark_src.errors import ConversionError, UnusablePictureError
from spark_src.evaluation.classifier_files import VERSION, TrainedHead, train_head
from spark_src.evaluation.head import Head
from spark_src.evaluation.held_out import HeldOut, hold_out
from spark_src.evaluation.picture_model import PictureClassifier, bytes_of, picture_model
from spark_src.evaluation.quality import MOST_IMAGES, read
from spark_src.features import files
from spark_src.images.preprocess import model_input
from spark_src.images.rejection import Limits, PictureRejected
from spark_src.images.validate import DEFAULT_LIMITS, clean_picture
from spark_src.pca.fit import load_current
from spark_src.pca.model import PcaModel
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.reading import read_rows
from spark_src.tables.sampling import sample_rows
from spark_src.tables.statistics import FeaturesStatistics

TOLERANCE = 1e-4
"""Maximum difference between a probability of the LiteRT file and that of the stored head."""

ON_COMPONENTS = True
"""Whether the head takes components; see `python -m benchmarks.classifier` for the effect."""

_COMPARED = 24
"""Number of pictures to verify the LiteRT file with."""


@dataclass(frozen=True)
class Inputs:
    """The versions of the assets that a classifier is built from."""

    raw_images: Snapshot
    mobilenet_model: Snapshot
    mobilenet_features: Snapshot
    pca_model: Snapshot
    pca_components: Snapshot

    @classmethod
    def current(cls, tables: Tables) -> Inputs:
        """The current versions.

        Raises:
            NothingStoredError: one of them was never materialized.
        """
        return cls(*(tables.current(field.name) for field in fields(cls)))

    def all(self) -> list[Snapshot]:
        """All versions as a list."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier, its LiteRT file, its evaluations and its statistics."""

    trained_head: TrainedHead
    model: bytes
    evaluations: list[HeldOut]
    statistics: dict[str, Any]


def train(inputs: Inputs, before: Snapshot | None, most_images: int = MOST_IMAGES) -> Trained:
    """Update the classifier, evaluate it on held-out images, and export the LiteRT file.

    Args:
        inputs: the input versions.
        before: the current version of `fruit_classifier`.
        most_images: maximum number of images to evaluate on.

    Raises:
        ClassifierError: fewer than two labels in the training split.
        ConversionError: the LiteRT file's output differs from the head's.
    """
    pca = load_current(inputs.pca_model) if ON_COMPONENTS else None
    trained = train_head(inputs.mobilenet_features, before, pca)
    vectors = read(inputs.mobilenet_features, inputs.pca_components, most_images)
    evaluations = hold_out(
        vectors.images, vectors.components if ON_COMPONENTS else vectors.features
    )
    head = replace(trained.head, temperature=_temperature(evaluations))
    trained = replace(trained, head=head)
    content = picture_model(files.load(inputs.mobilenet_model).content, head, pca)
    difference, milliseconds = _compare(content, head, inputs, pca)
    if not difference <= TOLERANCE:
        raise ConversionError(
            f"The exported classifier differs from the stored head by {difference:.2e} (at most "
            f"{TOLERANCE:.0e} is allowed): raw_images and mobilenet_features do not match. "
            "Materialize mobilenet_features and its downstream assets."
        )
    label_evaluations = _label_evaluations(evaluations)
    statistics = {
        "model_sha256": inputs.mobilenet_features.typed(FeaturesStatistics).model_sha256,
        "pca_model": inputs.pca_model.statistics.digest if ON_COMPONENTS else None,
        "version": VERSION,
        "calibration_error": label_evaluations[0].calibration_error()
        if label_evaluations
        else None,
        "greatest_difference": difference,
        "milliseconds": milliseconds,
    }
    return Trained(trained, content, evaluations, statistics)


def _label_evaluations(evaluations: list[HeldOut]) -> list[HeldOut]:
    """The evaluations of labels, which the classifier predicts, not of kinds of fruit."""
    return [found for found in evaluations if found.question != "kind of fruit"]


def _temperature(evaluations: list[HeldOut]) -> float:
    found = _label_evaluations(evaluations)
    return found[0].temperature if found else 1.0


def _compare(
    content: bytes, head: Head, inputs: Inputs, pca: PcaModel | None
) -> tuple[float, float]:
    """Maximum difference from probabilities of stored features, and milliseconds per picture."""
    pictures = sample_rows(inputs.raw_images, ["path", "content", "orientation"], _COMPARED)
    if pictures is None:
        return 0.0, 0.0
    chosen = pc.field("path").isin(pictures["path"].combine_chunks())
    stored = read_rows(inputs.mobilenet_features, ["path", "features"], chosen)
    features = dict(zip(stored["path"].to_pylist(), stored["features"].to_pylist(), strict=True))
    classifier, difference, seconds = PictureClassifier(content), 0.0, []
    for row in pictures.to_pylist():
        picture = bytes_of(model_input(row["content"], row["orientation"]))
        started = time.perf_counter()
        found = classifier.probabilities(picture)
        seconds.append(time.perf_counter() - started)
        numbers = np.array([features[row["path"]]], np.float32)
        expected = head.probabilities(numbers if pca is None else pca.project(numbers))[0]
        difference = max(difference, float(np.abs(found - expected).max()))
    return difference, round(1000 * float(np.median(seconds)), 2)


def classify(
    content: bytes, classifier: PictureClassifier, limits: Limits = DEFAULT_LIMITS
) -> dict[str, float]:
    """The labels of a picture with their probabilities, most likely first.

    Args:
        content: a picture file's bytes, as a user sends it.
        classifier: the loaded classifier.
        limits: the limits used by ingest.

    Raises:
        UnusablePictureError: ingest would reject the file.
    """
    try:
        picture = clean_picture(content, limits)
    except PictureRejected as rejection:
        raise UnusablePictureError(str(rejection), rejection.reason.value) from rejection
    shares = classifier.probabilities(bytes_of(model_input(picture.content, picture.orientation)))
    order = np.argsort(-shares, kind="stable")
    return {classifier.labels[index]: float(shares[index]) for index in order}
