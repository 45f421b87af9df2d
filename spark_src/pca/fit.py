"""Whether PCA has to be fitted again, and the fit. The model stays as long as it can.

A new fit changes every number of every image, and a model that was trained on them breaks.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import SparkSession

from spark_src.errors import PcaError, UnreadableVersionError
from spark_src.evaluation import drift
from spark_src.pca import files
from spark_src.pca.model import (
    MIN_EXPLAINED_VARIANCE,
    SHARES,
    PcaModel,
    components_for,
    fit_sums,
    variance_ratios,
)
from spark_src.pca.sums import SumsUpdate, update_sums
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.statistics import DriftStatistics, FeaturesStatistics, PcaModelStatistics

REFIT_SHARE = 0.1
"""Of the images that a model would be fitted on: when more than so many are new, it is."""


@dataclass(frozen=True)
class FitSettings:
    """What is asked of PCA."""

    n_components: int = 50
    min_explained_variance: float = MIN_EXPLAINED_VARIANCE
    """For the check: it changes no number."""
    refit: bool = False
    """Fit again whatever the rules say, and sum up every image for it."""
    refit_share: float = REFIT_SHARE


@dataclass(frozen=True)
class Fit:
    """The model of today, whether new or kept, with the sums of today's images."""

    model: PcaModel
    update: SumsUpdate
    is_new: bool
    description: str
    """Why it was fitted, or why it was kept; and how the sums were made."""
    n_new_images: int
    """Of the fitted split, since the fit."""
    drift: DriftStatistics | None
    drift_note: str


def fit_or_keep(
    spark: Callable[[], SparkSession],
    features: Snapshot,
    before: Snapshot | None,
    settings: FitSettings,
    erased: bool = False,
) -> Fit:
    """Bring the sums up to date, and fit where the rules of `refit_reason` ask for it.

    Args:
        spark: starts Spark.
        features: the version of `mobilenet_features`.
        before: the current version of `pca_model`.
        settings: what is asked of PCA.
        erased: images were erased: a model that was fitted on one of them is fitted again.

    Raises:
        PcaError: too few images, or features that do not vary or are not finite.
    """
    known = before.typed(PcaModelStatistics) if before else None
    earlier = None if settings.refit else _earlier_sums(before, features)
    update = update_sums(spark, features, earlier)
    current = _current_model(before)
    n_new = update.new_images.num_rows + (known.n_new_images if known else 0)
    measured, note = _drift(before, current, features, update)
    reason = refit_reason(known if current else None, features, update, n_new, measured, settings)
    if reason is None and erased and update.n_gone:
        reason = "images that it was fitted on were erased"
    if reason is None and current is not None:
        text = f"the model is kept; {update.description}"
        return Fit(current, update, False, text, n_new, measured, note)
    model_sha256 = features.typed(FeaturesStatistics).model_sha256
    model = fit_sums(update.stored.sums, settings.n_components, model_sha256)
    text = f"fitted on {model.n_images:,} images: {reason}; {update.description}"
    return Fit(model, update, True, text, 0, measured, note)


def refit_reason(  # noqa: PLR0913, PLR0917 - one for each rule
    known: PcaModelStatistics | None,
    features: Snapshot,
    update: SumsUpdate,
    n_new_images: int,
    measured: DriftStatistics | None,
    settings: FitSettings,
) -> str | None:
    """Why the model has to be fitted again; None where it can be kept."""
    if settings.refit:
        return "a new fit was asked for"
    if known is None:
        return "there was no model"
    model_sha256 = features.typed(FeaturesStatistics).model_sha256
    if known.model_sha256 != model_sha256:
        return f"the features are those of another model, {model_sha256[:12]}"
    if known.n_components != settings.n_components:
        return f"{settings.n_components} components are asked for, it had {known.n_components}"
    if known.fit_split != update.stored.split:
        return f"it was fitted on split {known.fit_split}, now it is {update.stored.split}"
    n_images = update.stored.sums.n_images
    if n_new_images > settings.refit_share * n_images:
        share = n_new_images / max(n_images, 1)
        return f"{n_new_images:,} of {n_images:,} images are new since the last fit ({share:.0%})"
    if measured is not None and not measured.familiar:
        return "the images that came are unlike those that it was fitted on"
    return None


def save(spark: Callable[[], SparkSession], fit: Fit, write: TableWrite, features: Snapshot) -> str:
    """Write the files of a fit beside those that are current; return the new sums' name."""
    folder = write.location / folder_of(fit.model)
    if fit.is_new:
        session = spark()
        files.save(fit.model, folder)
        files.save_spark_ml(session, fit.model, folder)
        reference = drift.reference(session, features, fit.model, fit.update.stored)
        drift.save(reference, folder)
    sums = f"sums-{uuid.uuid4().hex}.npz"
    files.save_sums(fit.update.stored, write.location / sums)
    return sums


def statistics(
    fit: Fit, sums: str, before: Snapshot | None, min_explained_variance: float
) -> PcaModelStatistics:
    """Of the new version of `pca_model`."""
    known = before.typed(PcaModelStatistics) if before else None
    today = fit.update.stored.sums
    ratios = fit.model.explained_variance_ratio if fit.is_new else variance_ratios(today)
    fitted = sums if fit.is_new or known is None else known.fitted_sums
    return PcaModelStatistics(
        digest=fit.model.digest,
        rows=1,
        files=tuple(dict.fromkeys((folder_of(fit.model), sums, fitted))),
        n_components=fit.model.n_components,
        n_images=fit.model.n_images,
        model_sha256=fit.model.model_sha256,
        explained_variance=fit.model.explained_variance,
        explained_variance_today=fit.model.explained_variance_of(today),
        n_images_today=today.n_images,
        n_new_images=fit.n_new_images,
        min_explained_variance=min_explained_variance,
        components_for={
            str(share): components_for(ratios, share) for share in _shares(min_explained_variance)
        },
        fit_split=fit.update.stored.split,
        sums=sums,
        fitted_sums=fitted,
        description=fit.description,
        drift=fit.drift,
        drift_note=fit.drift_note,
    )


def folder_of(model: PcaModel) -> str:
    """The model's folder in that of the asset: named by its digest."""
    return model.digest[:16]


def load_current(snapshot: Snapshot) -> PcaModel:
    """The model of a version of `pca_model`.

    Raises:
        UnreadableVersionError: a file is missing or damaged.
    """
    return files.load(snapshot.location / snapshot.statistics.digest[:16])


def is_unchanged(before: Snapshot | None, features: Snapshot, settings: FitSettings) -> bool:
    """Whether the current version was made of these very features, as asked."""
    if before is None or settings.refit:
        return False
    known = before.typed(PcaModelStatistics)
    asked = (settings.n_components, settings.min_explained_variance)
    same = (known.n_components, known.min_explained_variance) == asked
    if not same or before.record.inputs.get(features.asset) != features.version:
        return False
    return _current_model(before) is not None


def _shares(asked: float) -> tuple[float, ...]:
    return tuple(sorted({*SHARES, asked}))


def _current_model(before: Snapshot | None) -> PcaModel | None:
    try:
        return load_current(before) if before else None
    except UnreadableVersionError:
        return None


def _earlier_sums(before: Snapshot | None, features: Snapshot) -> files.StoredSums | None:
    if before is None:
        return None
    known = before.typed(PcaModelStatistics)
    if known.model_sha256 != features.typed(FeaturesStatistics).model_sha256:
        return None
    try:
        return files.load_sums(before.location / known.sums)
    except UnreadableVersionError:
        return None


def _drift(
    before: Snapshot | None, current: PcaModel | None, features: Snapshot, update: SumsUpdate
) -> tuple[DriftStatistics | None, str]:
    if before is None or current is None:
        return None, "no PCA was fitted before the last images came"
    if current.model_sha256 != features.typed(FeaturesStatistics).model_sha256:
        return None, "the features are of another model than the PCA before them"
    reference = drift.load(before.location / folder_of(current))
    if reference is None:
        return None, "the PCA before the last images was fitted on too few to compare with"
    if not update.new_images.num_rows:
        return None, "no image came since the PCA before was fitted"
    try:
        return drift.compare(update.new_images, features, current, reference), ""
    except PcaError as error:
        return None, str(error)
