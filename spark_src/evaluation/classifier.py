"""The classifier of a version of the features: learnt, asked, exported. On the host."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from spark_src.errors import ConversionError, UnusablePictureError
from spark_src.evaluation.classifier_files import VERSION, Learnt, learn
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
"""Greatest difference allowed between a probability of the LiteRT file and of the tables' head."""

ON_COMPONENTS = True
"""Whether the head takes the components: `python -m benchmarks.classifier` says what it costs."""

_COMPARED = 24
"""Pictures that the LiteRT file is run on."""


@dataclass(frozen=True)
class Inputs:
    """The versions that a classifier is made of, by their assets."""

    raw_images: Snapshot
    mobilenet_model: Snapshot
    mobilenet_features: Snapshot
    pca_model: Snapshot
    pca_components: Snapshot

    @classmethod
    def current(cls, tables: Tables) -> Inputs:
        """Those of today.

        Raises:
            NothingStoredError: one of them was never made.
        """
        return cls(*(tables.current(field.name) for field in fields(cls)))

    def all(self) -> list[Snapshot]:
        """Every one of them."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier, what it was asked, and what is said of it."""

    learnt: Learnt
    model: bytes
    answers: list[HeldOut]
    facts: dict[str, Any]


def train(inputs: Inputs, before: Snapshot | None, most_images: int = MOST_IMAGES) -> Trained:
    """Bring the classifier up to date, ask it of held-out images, and make the LiteRT file.

    Args:
        inputs: what it is made of.
        before: the current version of `fruit_classifier`.
        most_images: it is evaluated on a sample of so many.

    Raises:
        ClassifierError: fewer than two labels in the split that is learnt from.
        ConversionError: the LiteRT file does not compute what the head computes.
    """
    pca = load_current(inputs.pca_model) if ON_COMPONENTS else None
    learnt = learn(inputs.mobilenet_features, before, pca)
    vectors = read(inputs.mobilenet_features, inputs.pca_components, most_images)
    answers = hold_out(vectors.images, vectors.components if ON_COMPONENTS else vectors.features)
    learnt = replace(learnt, head=replace(learnt.head, temperature=_temperature(answers)))
    content = picture_model(files.load(inputs.mobilenet_model).content, learnt.head, pca)
    difference, milliseconds = _compare(content, learnt.head, inputs, pca)
    if not difference <= TOLERANCE:
        raise ConversionError(
            f"The exported classifier differs from the tables' by {difference:.2e} (at most "
            f"{TOLERANCE:.0e} is allowed): raw_images and mobilenet_features do not belong "
            "together. Materialize mobilenet_features and its downstream assets."
        )
    of_labels = _of_labels(answers)
    facts = {
        "model_sha256": inputs.mobilenet_features.typed(FeaturesStatistics).model_sha256,
        "pca_model": inputs.pca_model.statistics.digest if ON_COMPONENTS else None,
        "version": VERSION,
        "calibration_error": of_labels[0].calibration_error() if of_labels else None,
        "greatest_difference": difference,
        "milliseconds": milliseconds,
    }
    return Trained(learnt, content, answers, facts)


def _of_labels(answers: list[HeldOut]) -> list[HeldOut]:
    """Those that were asked for labels, which is what the classifier tells."""
    return [answer for answer in answers if answer.question != "kind of fruit"]


def _temperature(answers: list[HeldOut]) -> float:
    of_labels = _of_labels(answers)
    return of_labels[0].temperature if of_labels else 1.0


def _compare(
    content: bytes, head: Head, inputs: Inputs, pca: PcaModel | None
) -> tuple[float, float]:
    """Greatest difference to the stored features' probabilities, and milliseconds of a picture."""
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
        wanted = head.probabilities(numbers if pca is None else pca.project(numbers))[0]
        difference = max(difference, float(np.abs(found - wanted).max()))
    return difference, round(1000 * float(np.median(seconds)), 2)


def classify(
    content: bytes, classifier: PictureClassifier, limits: Limits = DEFAULT_LIMITS
) -> dict[str, float]:
    """The labels of a picture with their probabilities, the likeliest first.

    Args:
        content: a picture file's bytes, as a user sends it.
        classifier: the loaded file.
        limits: as ingest's.

    Raises:
        UnusablePictureError: ingest would reject the file, for the same reason.
    """
    try:
        picture = clean_picture(content, limits)
    except PictureRejected as rejection:
        raise UnusablePictureError(str(rejection), rejection.reason.value) from rejection
    shares = classifier.probabilities(bytes_of(model_input(picture.content, picture.orientation)))
    order = np.argsort(-shares, kind="stable")
    return {classifier.labels[place]: float(shares[place]) for place in order}
