"""The rules by which a PCA model is fitted again. The fit itself is in `fit`.

A new fit changes every number of every image, and a model that was trained on them breaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_src.pca.model import MIN_EXPLAINED_VARIANCE, cap_components
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics

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
class Refresh:
    """How today's images compare with those of the version before."""

    model_sha256: str
    """Of the model that made their features."""
    fit_split: str | None
    n_images: int
    """Images of the fitted split."""
    n_new_images: int
    """How many of them came since the fit."""
    drift: DriftStatistics | None
    lost_fitted_images: bool
    """Whether images that the model was fitted on were erased, or may have been."""
    is_readable: bool
    """Whether the files of the model before are there."""


def refit_reason(
    known: PcaModelStatistics | None, refresh: Refresh, settings: FitSettings
) -> str | None:
    """Why the model has to be fitted again; None where it can be kept.

    Args:
        known: what the current version says of the model.
        refresh: how today's images compare with those of that version.
        settings: what is asked of PCA.
    """
    if known is None:
        return "there was no model"
    share = refresh.n_new_images / max(refresh.n_images, 1)
    rules = [
        (settings.refit, "a new fit was asked for"),
        (not refresh.is_readable, "the former model cannot be read"),
        (
            known.model_sha256 != refresh.model_sha256,
            f"the features are those of another model, {refresh.model_sha256[:12]}",
        ),
        (
            known.asked != settings.n_components,
            f"{settings.n_components} components are asked for, it had {known.n_components}",
        ),
        (
            known.n_components < cap_components(known.asked, refresh.n_images),
            f"{known.asked} components are asked for, it had {known.n_components} of fewer images",
        ),
        (
            known.fit_split != refresh.fit_split,
            f"it was fitted on {_named(known.fit_split)}, now it is {_named(refresh.fit_split)}",
        ),
        (
            share > settings.refit_share,
            f"{refresh.n_new_images:,} of {refresh.n_images:,} images are new since the last fit "
            f"({share:.0%})",
        ),
        (
            refresh.drift is not None and not refresh.drift.familiar,
            "the images that came are unlike those that it was fitted on",
        ),
        (refresh.lost_fitted_images, "images that it was fitted on were erased"),
    ]
    return next((sentence for applies, sentence in rules if applies), None)


def _named(split: str | None) -> str:
    return "all images" if split is None else f"split {split}"
