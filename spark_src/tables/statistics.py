"""What each asset's commit says of itself: one typed model per asset. No I/O.

Commits are kept in the table's log for good, so nothing here names a person, a path or a picture.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

Counts = dict[str, int]

N = TypeVar("N", int, float)


class Measurement(BaseModel):
    """What some work took: the basis of cost estimates."""

    model_config = ConfigDict(frozen=True)

    seconds: float = 0.0
    images: int = 0
    cores: int = 1


class Statistics(BaseModel):
    """What every asset says of a version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    """Of the content: the same input gives the same digest, however it came about."""
    rows: int = 0
    seconds: float = 0.0
    """How long the run that committed worked on it."""
    measured: Measurement = Measurement()
    """The work on the most images so far: a refresh of few would not tell what one takes."""
    files: tuple[str, ...] = ()
    """Of an asset that is no table: its files and folders, relative to the asset's folder."""


class RawImagesStatistics(Statistics):
    """Of `raw_images`; the accounting: files listed = raw + rejected + ignored."""

    input: str
    """URI of the input."""
    fingerprint: str
    """Of what decides whether a file is accepted: the limits and the version of the rules."""
    n_listed: int
    rejected: int
    ignored: Counts = Field(default_factory=dict)
    """Litter and sidecars by kind."""
    splits: Counts = Field(default_factory=dict)
    labels: Counts = Field(default_factory=dict)
    largest_file: int = 0
    """Bytes of the largest file that was read."""
    n_read: int = 0
    """How many files the run read."""
    labels_digest: str = "0"
    """Of the corrected labels."""
    n_corrected: int = 0
    """Pictures whose label is not that of their folder."""


class RejectedImagesStatistics(Statistics):
    """Of `rejected_images`."""

    input: str
    fingerprint: str
    reasons: Counts = Field(default_factory=dict)


class VectorStatistics(BaseModel):
    """Lengths and values of a column of vectors. Bounds are those of every file ever added."""

    model_config = ConfigDict(frozen=True)

    nulls: int = 0
    not_finite: int = 0
    shortest: int | None = None
    longest: int | None = None
    smallest: float | None = None
    largest: float | None = None
    smallest_norm: float | None = None
    largest_norm: float | None = None
    """Norms are L1. Where the two are equal, every picture got the same vector."""

    def merged(self, other: VectorStatistics) -> VectorStatistics:
        """Those of both together."""
        return VectorStatistics(
            nulls=self.nulls + other.nulls,
            not_finite=self.not_finite + other.not_finite,
            shortest=_least(self.shortest, other.shortest),
            longest=_greatest(self.longest, other.longest),
            smallest=_least(self.smallest, other.smallest),
            largest=_greatest(self.largest, other.largest),
            smallest_norm=_least(self.smallest_norm, other.smallest_norm),
            largest_norm=_greatest(self.largest_norm, other.largest_norm),
        )


class FeaturesStatistics(Statistics):
    """Of `mobilenet_features`."""

    model_sha256: str
    preprocessing: str
    """Names the definition of the pixels: `images.preprocess.PIXELS`."""
    vectors: VectorStatistics
    splits: Counts = Field(default_factory=dict)
    computed: int = 0
    """Different pictures that the run ran the model on."""
    carried_over: int = 0
    """Images whose features were known from before."""
    resumed: int = 0
    """Images whose features an interrupted run had left."""
    progress: tuple[tuple[float, int], ...] = ()
    """Seconds since the start, and images done by then."""


class MobilenetModelStatistics(Statistics):
    """Of `mobilenet_model`."""

    sha256: str
    weights_sha256: str
    converter: str
    input_size: int
    width_multiplier: float
    greatest_difference: float
    """Between a feature of Keras and of the converted model, on the pictures of the check."""


class DriftStatistics(BaseModel):
    """How images that came compare with what the PCA model before them was fitted on."""

    model_config = ConfigDict(frozen=True)

    new_images: int
    compared: int
    beyond: int
    chance: float
    residual: float
    shift: float
    worst: tuple[tuple[str, int, float], ...] = ()
    """File and row of `mobilenet_features`, and the ratio: a path could be a person's."""
    familiar: bool


class PcaModelStatistics(Statistics):
    """Of `pca_model`. `digest` is the model's."""

    n_components: int
    n_components_asked: int | None = None
    """What the settings ask for; fewer are kept where the images are few. None in older commits,
    where both are the same."""
    n_images: int
    """How many images it was fitted on."""
    model_sha256: str
    explained_variance: float
    """The share it kept of the images that it was fitted on."""
    explained_variance_today: float
    """The share it keeps of the images of today."""
    n_images_today: int
    min_explained_variance: float
    components_for: dict[str, int]
    """Share of today's variance -> number of components that keep it."""
    fit_split: str | None
    sums: str
    """File with the sums of today's images."""
    fitted_sums: str
    """File with the sums that the model was fitted from."""
    n_new_images: int
    """Images of the fitted split that came since the fit."""
    description: str
    """Why it was fitted, or why it was kept."""
    drift: DriftStatistics | None = None
    drift_note: str = ""
    """Why drift was not measured, where it was not."""

    @property
    def asked(self) -> int:
        """How many components were asked for."""
        return self.n_components_asked or self.n_components


class ComponentsStatistics(Statistics):
    """Of `pca_components`."""

    pca_model: str
    model_sha256: str
    n_components: int
    vectors: VectorStatistics
    splits: Counts = Field(default_factory=dict)
    projected: int = 0
    """Images that the run projected; the others kept their numbers."""


class CsvStatistics(Statistics):
    """Of `csv_export`."""

    n_components: int
    file_bytes: int = 0
    """Of the file."""


class QualityStatistics(Statistics):
    """Of `embedding_quality`; the answers are in its file."""

    compared: int


class HealthStatistics(Statistics):
    """Of `data_health`; which pictures they are is in its files."""

    whitening: str
    """Digest of what made the features comparable."""
    version: str
    threshold: float
    """Least cosine of near duplicates."""
    images: int
    compared: int
    """Pictures that the run compared with all others."""
    exact_duplicates: int
    near_duplicates: int
    groups: int
    crossing: Counts = Field(default_factory=dict)
    labels: Counts = Field(default_factory=dict)
    near_share: dict[str, float] = Field(default_factory=dict)
    """Of each label: the share of its images with a near duplicate of that label."""


class ClassifierStatistics(Statistics):
    """Of `fruit_classifier`."""

    model_sha256: str
    """Of the backbone."""
    pca_model: str | None
    """Digest of the PCA between backbone and head; None where the head takes the features."""
    version: str
    classes: int
    images: int
    """Labelled images that it was learnt from."""
    files_read: int
    """Files of features that the run read for the sums."""
    model_bytes: int
    temperature: float
    accuracy: dict[str, float] = Field(default_factory=dict)
    """Question -> accuracy on the held-out images."""
    calibration_error: float | None = None
    greatest_difference: float = 0.0
    """Between a probability of the LiteRT file and of the head on the stored features."""
    milliseconds: float = 0.0
    """Of one picture, on one core."""
    reason: str = ""
    """Why there is no classifier, where there is none: `classes` is 0."""


class LabelIssuesStatistics(Statistics):
    """Of `label_issues`; which images they are is in its file."""

    labelled: int
    """Images that have a label; the rows are those that could be judged."""
    issues: int


def joint_digest(*digests: str) -> str:
    """The digest of something that is made of several things, and of nothing else."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _least(one: N | None, other: N | None) -> N | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _greatest(one: N | None, other: N | None) -> N | None:
    return max((value for value in (one, other) if value is not None), default=None)
