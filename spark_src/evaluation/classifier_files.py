"""How `fruit_classifier` is kept and brought up to date: sums, head, LiteRT file, evaluation."""

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
    reading,
    sum_files,
    sums_content,
    unreadable,
)
from spark_src.evaluation.head import SHRINKAGE, ClassSums, Head, fit_head
from spark_src.evaluation.held_out import HeldOut
from spark_src.pca.model import PcaModel
from spark_src.pca.sums import fit_split
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import write_whole
from spark_src.tables.statistics import ClassifierStatistics, FeaturesStatistics, joint_digest

VERSION = "1"
"""Of what is learnt: counted up where the same features give another classifier."""

MODEL, HEAD, SUMS, EVALUATION = "classifier.tflite", "head.npz", "sums.npz", "evaluation.json"


@dataclass(frozen=True, eq=False)
class Learnt:
    """The classifier of today's labelled images."""

    head: Head
    stored: StoredClassSums
    files_read: int
    """Files of features that were added or taken away; all of them where it was trained again."""


def digest_of(features: Snapshot, components: Snapshot, most_images: int) -> str:
    """Of what the classifier follows from."""
    inputs = (features.statistics.digest, components.statistics.digest)
    return joint_digest(*inputs, f"{SHRINKAGE:g} {most_images} {VERSION}")


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the files that are there are of just these features."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    known = before.typed(ClassifierStatistics)
    return (before.data_location / (EVALUATION if known.reason else MODEL)).exists()


def learn(features: Snapshot, before: Snapshot | None, pca: PcaModel | None) -> Learnt:
    """Bring the sums up to date, and solve for the head.

    Only files of features that came or went are read. The sums are whole numbers: what is left of
    them after an erasure is, to the last bit, what the images that are left add up to.

    Raises:
        ClassifierError: fewer than two labels in the split that is learnt from.
        UnreadableVersionError: a file of features is gone or damaged.
    """
    split = fit_split(features)
    names = frozenset(file.name for file in features.files)
    earlier = _earlier(features, before, split)
    came, went = names - earlier.files, earlier.files - names
    try:
        sums = earlier.sums - sum_files(features, went, split)
    except UnreadableVersionError:
        came, went, sums = names, frozenset(), ClassSums.zero()
    sums += sum_files(features, came, split)
    stored = StoredClassSums(sums, frozenset(names), split)
    return Learnt(fit_head(sums, pca), stored, len(came) + len(went))


def save(
    learnt: Learnt,
    model: bytes,
    answers: list[HeldOut],
    write: TableWrite,
    statistics: dict[str, Any],
) -> ClassifierStatistics:
    """Write the files; return what the commit says of them."""
    digest = statistics["digest"]
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    folder = write.location / name
    write_whole(folder / MODEL, model)
    write_whole(folder / SUMS, sums_content(learnt.stored))
    write_whole(folder / HEAD, _head_content(learnt.head))
    evaluation = [
        {
            "question": answer.question,
            "held_out": answer.held_out,
            "images": len(answer.rows),
            "accuracy": answer.accuracy,
            "expected_calibration_error": answer.calibration_error(learnt.head.temperature),
            "per_class": answer.per_class(),
            "confusions": answer.confusions(),
        }
        for answer in answers
    ]
    write_whole(folder / EVALUATION, json.dumps(evaluation, indent=2).encode())
    return ClassifierStatistics(
        rows=len(learnt.head.classes),
        files=(name,),
        classes=len(learnt.head.classes),
        images=learnt.stored.sums.sums.n_images,
        files_read=learnt.files_read,
        model_bytes=len(model),
        temperature=learnt.head.temperature,
        accuracy={answer.question: answer.accuracy for answer in answers},
        **statistics,
    )


def save_none(
    reason: str, write: TableWrite, digest: str, features: Snapshot
) -> ClassifierStatistics:
    """Say that these images teach no classifier; return what the commit says."""
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
        ClassifierError: the images teach none.
        UnreadableVersionError: the file is gone or damaged.
    """
    _require_classifier(snapshot)
    file = snapshot.data_location / HEAD
    with reading(file) as stored:
        names = tuple(str(name) for name in stored["classes"])
        temperature = float(stored["temperature"])
        return Head(names, stored["weights"], stored["offsets"], temperature)


def load_model(snapshot: Snapshot) -> bytes:
    """The LiteRT file of a version.

    Raises:
        ClassifierError: the images teach none.
        UnreadableVersionError: the file is gone.
    """
    _require_classifier(snapshot)
    file = snapshot.data_location / MODEL
    try:
        return file.read()
    except OSError as error:
        raise unreadable(file, error) from error


def load_evaluation(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What held-out images were told, a record for each question.

    Raises:
        UnreadableVersionError: the file is gone or damaged.
    """
    file = snapshot.data_location / EVALUATION
    try:
        found: list[dict[str, Any]] = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    return found


def _require_classifier(snapshot: Snapshot) -> None:
    reason = snapshot.typed(ClassifierStatistics).reason
    if reason:
        raise ClassifierError(f"There is no classifier. {reason}")


def _earlier(features: Snapshot, before: Snapshot | None, split: str | None) -> StoredClassSums:
    """Sums that can be brought up to date; those of no image where there are none."""
    nothing = StoredClassSums(ClassSums.zero(), frozenset(), split)
    if before is None:
        return nothing
    known = before.typed(ClassifierStatistics)
    model = features.typed(FeaturesStatistics).model_sha256
    if (known.model_sha256, known.version) != (model, VERSION):
        return nothing
    try:
        found = load_sums(before.data_location / SUMS)
    except UnreadableVersionError:
        return nothing
    return found if found.split == split else nothing


def _head_content(head: Head) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(
        content,
        classes=np.array(head.classes, np.str_),
        weights=head.weights,
        offsets=head.offsets,
        temperature=head.temperature,
    )
    return content.getvalue()
