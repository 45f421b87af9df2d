"""Stores and updates `fruit_classifier`: sums, head, LiteRT file and evaluation."""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from spark_src.errors import ClassifierError, UnreadableVersionError
from spark_src.evaluation.class_sums_files import (
    StoredClassSums,
    load_sums,
    open_npz,
    sum_files,
    sums_content,
    unreadable_error,
)
from spark_src.evaluation.head import SHRINKAGE, ClassSums, Head, fit_head
from spark_src.evaluation.held_out import HeldOut
from spark_src.pca.model import PcaModel
from spark_src.pca.sums import fit_split
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.statistics import ClassifierStatistics, FeaturesStatistics, joint_digest

VERSION = "2"
"""Version of the training. Increase it if the same features give a different classifier."""

MODEL, HEAD, SUMS, EVALUATION = "classifier.tflite", "head.npz", "sums.npz", "evaluation.json"


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head trained on the current labelled images."""

    head: Head
    stored: StoredClassSums
    files_read: int
    """Feature files that were added or removed; all files after a full retraining."""


def digest_of(features: Snapshot, components: Snapshot, most_images: int) -> str:
    """Digest of everything that determines the classifier."""
    inputs = (features.statistics.digest, components.statistics.digest)
    return joint_digest(*inputs, f"{SHRINKAGE:g} {most_images} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored files are up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    known = before.typed(ClassifierStatistics)
    return (before.data_location / (EVALUATION if known.reason else MODEL)).exists()


def train_head(features: Snapshot, before: Snapshot | None, pca: PcaModel | None) -> TrainedHead:
    """Update the sums, and solve for the head.

    Only added and removed feature files are read. The sums are integers: after an erasure, they are
    exactly equal to the sums of the remaining images.

    Raises:
        ClassifierError: fewer than two labels in the training split.
        UnreadableVersionError: a feature file is missing or damaged.
    """
    split = fit_split(features)
    names = frozenset(file.name for file in features.files)
    earlier = _earlier(features, before, split)
    added, removed = names - earlier.files, earlier.files - names
    try:
        sums = earlier.sums - sum_files(features, removed, split)
    except UnreadableVersionError:
        added, removed, sums = names, frozenset(), ClassSums.zero()
    sums += sum_files(features, added, split)
    stored = StoredClassSums(sums, frozenset(names), split)
    return TrainedHead(fit_head(sums, pca), stored, len(added) + len(removed))


def save(
    trained: TrainedHead,
    model: bytes,
    evaluations: list[HeldOut],
    write: TableWrite,
    statistics: dict[str, Any],
) -> ClassifierStatistics:
    """Write the files; return the statistics for the commit."""
    digest = statistics["digest"]
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    folder = write.location / name
    write_whole(folder / MODEL, model)
    write_whole(folder / SUMS, sums_content(trained.stored))
    write_whole(folder / HEAD, _head_content(trained.head))
    records = [
        {
            "question": found.question,
            "held_out": found.held_out,
            "images": len(found.rows),
            "accuracy": found.accuracy,
            "expected_calibration_error": found.calibration_error(),
            "per_class": found.per_class(),
            "confusions": found.confusions(),
        }
        for found in evaluations
    ]
    write_whole(folder / EVALUATION, json.dumps(records, indent=2).encode())
    return ClassifierStatistics(
        rows=len(trained.head.classes),
        files=(name,),
        classes=len(trained.head.classes),
        images=trained.stored.sums.sums.n_images,
        files_read=trained.files_read,
        model_bytes=len(model),
        temperature=trained.head.temperature,
        accuracy={found.question: found.accuracy for found in evaluations},
        **statistics,
    )


def save_none(
    reason: str, write: TableWrite, digest: str, features: Snapshot
) -> ClassifierStatistics:
    """Store that no classifier can be trained; return the statistics for the commit."""
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    write_whole(write.location / name / EVALUATION, b"[]")
    return ClassifierStatistics(
        digest=digest,
        files=(name,),
        model_sha256=features.typed(FeaturesStatistics).model_sha256,
        pca_model=None,
        version=VERSION,
        classes=0,
        images=0,
        files_read=0,
        model_bytes=0,
        temperature=1.0,
        reason=reason,
    )


def load_head(snapshot: Snapshot) -> Head:
    """The head of a version of `fruit_classifier`.

    Raises:
        ClassifierError: this version has no classifier.
        UnreadableVersionError: the file is missing or damaged.
    """
    _require_classifier(snapshot)
    file = snapshot.data_location / HEAD
    with open_npz(file) as stored:
        names = tuple(str(name) for name in stored["classes"])
        temperature = float(stored["temperature"])
        return Head(names, stored["weights"], stored["offsets"], temperature)


def load_model(snapshot: Snapshot) -> bytes:
    """The LiteRT file of a version.

    Raises:
        ClassifierError: this version has no classifier.
        UnreadableVersionError: the file is missing.
    """
    _require_classifier(snapshot)
    file = snapshot.data_location / MODEL
    try:
        return file.read()
    except OSError as error:
        raise unreadable_error(file, error) from error


def load_evaluation(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The evaluation on held-out images, one record per question.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = snapshot.data_location / EVALUATION
    try:
        found: list[dict[str, Any]] = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise unreadable_error(file, error) from error
    return found


def _require_classifier(snapshot: Snapshot) -> None:
    reason = snapshot.typed(ClassifierStatistics).reason
    if reason:
        raise ClassifierError(f"There is no classifier. {reason}")


def _earlier(features: Snapshot, before: Snapshot | None, split: str | None) -> StoredClassSums:
    """The stored sums if they can be updated, otherwise zero sums."""
    zero = StoredClassSums(ClassSums.zero(), frozenset(), split)
    if before is None:
        return zero
    known = before.typed(ClassifierStatistics)
    model = features.typed(FeaturesStatistics).model_sha256
    if (known.model_sha256, known.version) != (model, VERSION):
        return zero
    try:
        found = load_sums(before.data_location / SUMS)
    except UnreadableVersionError:
        return zero
    return found if found.split == split else zero


def _head_content(head: Head) -> bytes:
    content = io.BytesIO()
    np.savez(
        content,
        classes=np.array(head.classes, np.str_),
        weights=head.weights,
        offsets=head.offsets,
        temperature=head.temperature,
    )
    return content.getvalue()
