"""Keeps or refits the PCA model, and writes its files. The rules are in `refit`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import SparkSession

from spark_src.errors import PcaError, UnreadableVersionError
from spark_src.pca import drift, files
from spark_src.pca.model import (
    SHARES,
    PcaModel,
    components_for,
    few_images_note,
    fit_sums,
    require_valid_sums,
    variance_ratios,
)
from spark_src.pca.refit import FitSettings, Refresh, refit_reason
from spark_src.pca.sums import SumsUpdate, update_sums
from spark_src.spark.progress import report_message
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.statistics import (
    ComponentsStatistics,
    DriftStatistics,
    FeaturesStatistics,
    PcaModelStatistics,
)
from spark_src.text import counted


@dataclass(frozen=True)
class Fit:
    """The new or kept model, and the sums of the current images."""

    model: PcaModel
    update: SumsUpdate
    is_new: bool
    description: str
    """Why the model was fitted or kept, and how the sums were computed."""
    n_new_images: int
    """Images of the fitted split added since the fit."""
    drift: DriftStatistics | None
    drift_note: str


def fit_or_keep(
    spark: Callable[[], SparkSession],
    features: Snapshot,
    before: Snapshot | None,
    settings: FitSettings,
    erased: bool = False,
) -> Fit:
    """Update the sums, and refit the model if `refit_reason` requires it.

    Args:
        spark: starts Spark.
        features: the version of `mobilenet_features`.
        before: the current version of `pca_model`.
        settings: the settings of the fit.
        erased: whether images were erased; a model that was fitted on one of them is refitted.

    Raises:
        PcaError: too few images, or features that do not vary or are not finite.
    """
    known = before.typed(PcaModelStatistics) if before else None
    update = update_sums(spark, features, _earlier_sums(before, features), settings.refit)
    sums = update.stored.sums
    require_valid_sums(sums)
    current = _current_model(before)
    model_sha256 = features.typed(FeaturesStatistics).model_sha256
    try:
        measured, note = _drift(before, current, features, update)
    except UnreadableVersionError as error:
        if not settings.refit:  # the error tells the user to refit
            raise
        measured, note = None, str(error)
    refresh = Refresh(
        model_sha256=model_sha256,
        fit_split=update.stored.split,
        n_images=sums.n_images,
        n_new_images=_count_new_since_fit(before, features, update, settings),
        drift=measured,
        lost_fitted_images=erased and _has_lost_fitted(known, update),
        is_readable=current is not None,
    )
    reason = refit_reason(known, refresh, settings)
    if current is not None and reason is None:
        text = f"the model is kept; {update.description}"
        return Fit(current, update, False, text, refresh.n_new_images, measured, note)
    model = fit_sums(sums, settings.n_components, model_sha256)
    text = f"fitted on {counted(model.n_images, 'image')}: {reason}; {update.description}"
    if model.n_components < settings.n_components:
        few = few_images_note(settings.n_components, model.n_components)
        report_message(few)
        text = f"{few}; {text}"
    return Fit(model, update, True, text, 0, measured, note)


def save(spark: Callable[[], SparkSession], fit: Fit, write: TableWrite, features: Snapshot) -> str:
    """Write the files of a fit next to the current ones; return the name of the new sums."""
    folder = write.location / folder_of(fit.model)
    if fit.is_new:
        files.save(fit.model, folder)
        files.save_spark_ml(fit.model, folder)
        reference = drift.reference(spark(), features, fit.model, fit.update.stored)
        drift.save(reference, folder)
    sums = f"sums-{uuid.uuid4().hex}.npz"
    files.save_sums(fit.update.stored, write.location / sums)
    return sums


def statistics(
    fit: Fit, sums: str, before: Snapshot | None, settings: FitSettings
) -> PcaModelStatistics:
    """Statistics of the new version of `pca_model`."""
    known = before.typed(PcaModelStatistics) if before else None
    today = fit.update.stored.sums
    ratios = fit.model.explained_variance_ratio if fit.is_new else variance_ratios(today)
    fitted = sums if fit.is_new or known is None else known.fitted_sums
    return PcaModelStatistics(
        digest=fit.model.digest,
        rows=1,
        files=tuple(dict.fromkeys((folder_of(fit.model), sums, fitted))),
        n_components=fit.model.n_components,
        n_components_asked=settings.n_components,
        n_images=fit.model.n_images,
        model_sha256=fit.model.model_sha256,
        explained_variance=fit.model.explained_variance,
        explained_variance_today=fit.model.explained_variance_of(today),
        n_images_today=today.n_images,
        n_new_images=fit.n_new_images,
        min_explained_variance=settings.min_explained_variance,
        components_for={
            str(share): components_for(ratios, share)
            for share in _shares(settings.min_explained_variance)
        },
        fit_split=fit.update.stored.split,
        sums=sums,
        fitted_sums=fitted,
        description=fit.description,
        drift=fit.drift,
        drift_note=fit.drift_note,
    )


def folder_of(model: PcaModel) -> str:
    """Name of the model's folder in the asset's folder, from its digest."""
    return model.digest[:16]


def load_current(snapshot: Snapshot) -> PcaModel:
    """The model of a version of `pca_model`.

    Raises:
        UnreadableVersionError: a file is missing or damaged.
    """
    return files.load(snapshot.location / snapshot.statistics.digest[:16])


def require_projected(components: Snapshot, model: PcaModel) -> None:
    """Require that a version of `pca_components` was computed with this model.

    Raises:
        PcaError: it was computed with another one, to whose components no distance can be measured.
    """
    if components.typed(ComponentsStatistics).pca_model != model.digest:
        raise PcaError(
            "pca_components was computed with an earlier PCA model, so pictures cannot be compared "
            "with it. Materialize it again: uv run fruits run --select pca_components"
        )


def is_unchanged(before: Snapshot | None, features: Snapshot, settings: FitSettings) -> bool:
    """Whether the current version was computed from these features with these settings."""
    if before is None or settings.refit:
        return False
    known = before.typed(PcaModelStatistics)
    wanted = (settings.n_components, settings.min_explained_variance)
    same = (known.n_components_requested, known.min_explained_variance) == wanted
    if not same or before.record.inputs.get(features.asset) != features.version:
        return False
    if features.committed_at > before.committed_at:  # versions of a re-created table start at 0
        return False
    if known.n_new_images > settings.refit_share * known.n_images_today:
        return False
    return _current_model(before) is not None


def _count_new(known: PcaModelStatistics | None, update: SumsUpdate) -> int:
    """Number of images added since the fit; a lower bound if it is unknown which were added."""
    if known is None:
        return 0
    growth = max(0, update.stored.sums.n_images - known.n_images_today)
    added = growth if update.new_images is None else update.new_images.num_rows
    return known.n_new_images + added


def _has_lost_fitted(known: PcaModelStatistics | None, update: SumsUpdate) -> bool:
    """Whether images that the model was fitted on were removed, now or in an earlier refresh."""
    if known is None:
        return False
    n_kept = update.stored.sums.n_images - _count_new(known, update)
    return update.n_removed != 0 or n_kept < known.n_images


def _count_new_since_fit(
    before: Snapshot | None, features: Snapshot, update: SumsUpdate, settings: FitSettings
) -> int:
    """Like `_count_new`, without images that were added and removed again.

    The list of fitted files is only read if the count would require a refit.
    """
    known = before.typed(PcaModelStatistics) if before else None
    count = _count_new(known, update)
    n_images = update.stored.sums.n_images
    if before is None or known is None or count <= settings.refit_share * n_images:
        return count
    try:
        fitted = files.load_sums(before.location / known.fitted_sums).files
    except UnreadableVersionError:
        return count
    return min(count, sum(file.rows for file in features.files if file.name not in fitted))


def _shares(wanted: float) -> tuple[float, ...]:
    return tuple(sorted({*SHARES, wanted}))


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
    """Compare new images with the model's reference, or return the reason why not."""
    if before is None or current is None:
        return None, "there is no PCA model from before the new images"
    added, reference = update.new_images, drift.load(before.location / folder_of(current))
    model_sha256 = features.typed(FeaturesStatistics).model_sha256
    obstacles = [
        (
            current.model_sha256 != model_sha256,
            "the previous PCA was fitted on features of another model",
        ),
        (
            reference is None,
            "the previous PCA was fitted on too few images to compare with",
        ),
        (added is None, "it is not known which images were added since the previous fit"),
        (added is not None and not added.num_rows, "no image was added since the previous fit"),
    ]
    obstacle = next((sentence for applies, sentence in obstacles if applies), None)
    if obstacle or added is None or reference is None:
        return None, obstacle or ""
    try:
        return drift.compare(added, features, current, reference), ""
    except PcaError as error:
        return None, str(error)
