"""The rules for refitting a PCA model. The fit itself is in `fit`.

A refit changes the components of every image and breaks models that were trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_src.pca.model import MIN_EXPLAINED_VARIANCE, cap_components
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics

N_COMPONENTS = 50
"""k, unless the settings or the configuration of a run set another."""

REFIT_SHARE = 0.1
"""The model is refitted when more than this share of the images are new."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of the PCA fit."""

    n_components: int = N_COMPONENTS
    min_explained_variance: float = MIN_EXPLAINED_VARIANCE
    """Threshold of the check; it does not affect the fit."""
    refit: bool = False
    """Refit in any case, with sums recomputed from all images."""
    refit_share: float = REFIT_SHARE


@dataclass(frozen=True)
class Refresh:
    """The current images, compared with those of the previous version."""

    model_sha256: str
    """Digest of the model that computed their features."""
    fit_split: str | None
    n_images: int
    """Images of the fitted split."""
    n_new_images: int
    """How many of them were added since the fit."""
    drift: DriftStatistics | None
    lost_fitted_images: bool
    """Whether images that the model was fitted on were erased, or may have been."""
    is_readable: bool
    """Whether the files of the previous model can be read."""


def refit_reason(
    known: PcaModelStatistics | None, refresh: Refresh, settings: FitSettings
) -> str | None:
    """Why the model has to be refitted; None if it can be kept.

    Args:
        known: the statistics of the current version.
        refresh: the current images, compared with those of that version.
        settings: the settings of the fit.
    """
    if known is None:
        return "there was no model"
    share = refresh.n_new_images / max(refresh.n_images, 1)
    rules = [
        (settings.refit, "a new fit was requested"),
        (not refresh.is_readable, "the previous model cannot be read"),
        (
            known.model_sha256 != refresh.model_sha256,
            f"the features were computed by another model, {refresh.model_sha256[:12]}",
        ),
        (
            known.n_components_requested != settings.n_components,
            f"{settings.n_components} components are requested, the previous model had "
            f"{known.n_components}",
        ),
        (
            known.n_components < cap_components(known.n_components_requested, refresh.n_images),
            f"{known.n_components_requested} components are requested, the previous model had "
            f"{known.n_components}, as there were fewer images",
        ),
        (
            known.fit_split != refresh.fit_split,
            f"the previous model was fitted on {_split_name(known.fit_split)}, this one on "
            f"{_split_name(refresh.fit_split)}",
        ),
        (
            share > settings.refit_share,
            f"{refresh.n_new_images:,} of {refresh.n_images:,} images are new since the last fit "
            f"({share:.0%})",
        ),
        (
            refresh.drift is not None and not refresh.drift.familiar,
            "the new images are unlike those that the previous model was fitted on",
        ),
        (refresh.lost_fitted_images, "images that the previous model was fitted on were erased"),
    ]
    return next((sentence for applies, sentence in rules if applies), None)


def _split_name(split: str | None) -> str:
    return "all images" if split is None else f"split {split}"
