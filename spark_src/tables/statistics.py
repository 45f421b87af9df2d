"""The statistics in each asset's commits: one typed model per asset. No I/O.

The table's log is permanent, so statistics never name a person, a path or a picture.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from spark_src.tables.model_comparison import Comparison

Counts = dict[str, int]

N = TypeVar("N", int, float)


class Measurement(BaseModel):
    """Time and resources used by a run: the basis of cost estimates."""

    model_config = ConfigDict(frozen=True)

    seconds: float = 0.0
    images: int = 0
    cores: int = 1


class Statistics(BaseModel):
    """Statistics common to all assets."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    """Digest of the content: the same input always gives the same digest."""
    rows: int = 0
    seconds: float = 0.0
    """Duration of the run that committed the version."""
    measured: Measurement = Measurement()
    """The measurement with the most images so far: a small refresh gives no reliable rate."""
    files: tuple[str, ...] = ()
    """For an asset that is not a table: its files and folders, relative to the asset's folder."""


class RawImagesStatistics(Statistics):
    """Statistics of `raw_images`. Accounting: files listed = raw + rejected + ignored."""

    input: str
    """URI of the input."""
    fingerprint: str
    """Digest of the limits and the version of the rules by which files are accepted."""
    n_listed: int
    rejected: int
    ignored: Counts = Field(default_factory=dict)
    """Litter and sidecars by kind."""
    splits: Counts = Field(default_factory=dict)
    labels: Counts = Field(default_factory=dict)
    largest_file: int = 0
    """Size in bytes of the largest file that was read."""
    n_read: int = 0
    """How many files the run read."""
    labels_digest: str = "0"
    """Digest of the corrected labels."""
    n_corrected: int = 0
    """Files whose label in `labels.csv` differs from their folder."""
    n_unknown_corrections: int = 0
    """Rows of `labels.csv` whose path is not in the input."""


class RejectedImagesStatistics(Statistics):
    """Statistics of `rejected_images`."""

    input: str
    fingerprint: str
    reasons: Counts = Field(default_factory=dict)


class VectorStatistics(BaseModel):
    """Lengths and values of a column of vectors. Bounds include files that were removed since."""

    model_config = ConfigDict(frozen=True)

    nulls: int = 0
    not_finite: int = 0
    shortest: int | None = None
    longest: int | None = None
    smallest: float | None = None
    largest: float | None = None
    smallest_norm: float | None = None
    largest_norm: float | None = None
    """Norms are L1. If the two are equal, every picture has the same vector."""

    def merged(self, other: VectorStatistics) -> VectorStatistics:
        """The statistics of both columns together."""
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
    """Statistics of `mobilenet_features`."""

    model_sha256: str
    preprocessing: str
    """Name of the pixel definition: `images.preprocess.PIXELS`."""
    vectors: VectorStatistics
    splits: Counts = Field(default_factory=dict)
    computed: int = 0
    """Distinct pictures for which the run computed features."""
    carried_over: int = 0
    """Images whose features come from the previous version."""
    resumed: int = 0
    """Images whose features come from an interrupted run."""
    progress: tuple[tuple[float, int], ...] = ()
    """Pairs of seconds since the start and images done."""


class MobilenetModelStatistics(Statistics):
    """Statistics of `mobilenet_model`."""

    sha256: str
    weights_sha256: str
    converter: str
    input_size: int
    width_multiplier: float
    greatest_difference: float
    """Largest difference between Keras's features and the converted model's, on test pictures."""


class DriftStatistics(BaseModel):
    """Comparison of new images with those that the previous PCA model was fitted on."""

    model_config = ConfigDict(frozen=True)

    new_images: int
    compared: int
    beyond: int
    chance: float
    residual: float
    shift: float
    worst: tuple[tuple[str, int, float], ...] = ()
    """File and row of `mobilenet_features`, and the ratio. Paths may be personal data."""
    familiar: bool


class PcaModelStatistics(Statistics):
    """Statistics of `pca_model`. `digest` is the model's."""

    n_components: int
    n_components_asked: int | None = None
    """The number in the settings; fewer are kept if there are too few images. None in older
    commits, where both are the same."""
    n_images: int
    """How many images it was fitted on."""
    model_sha256: str
    explained_variance: float
    """Share of the variance of the images that it was fitted on."""
    explained_variance_today: float
    """Share of the variance of the current images."""
    n_images_today: int
    min_explained_variance: float
    components_for: dict[str, int]
    """Share of the current images' variance -> number of components that explain it."""
    fit_split: str | None
    sums: str
    """File with the sums of the current images."""
    fitted_sums: str
    """File with the sums that the model was fitted from."""
    n_new_images: int
    """Images of the fitted split that were added since the fit."""
    description: str
    """Why the model was fitted again, or why it was kept."""
    drift: DriftStatistics | None = None
    drift_note: str = ""
    """Why drift was not measured; empty if it was."""

    @property
    def n_components_requested(self) -> int:
        """The number of components in the settings."""
        return self.n_components_asked or self.n_components


class ComponentsStatistics(Statistics):
    """Statistics of `pca_components`."""

    pca_model: str
    model_sha256: str
    n_components: int
    vectors: VectorStatistics
    splits: Counts = Field(default_factory=dict)
    projected: int = 0
    """Images that the run projected; the components of the others were kept."""


class CsvStatistics(Statistics):
    """Statistics of `csv_export`."""

    n_components: int
    file_bytes: int = 0
    """Size of the file."""


class QualityStatistics(Statistics):
    """Statistics of `embedding_quality`; the results are in its file."""

    compared: int


class HealthStatistics(Statistics):
    """Statistics of `data_health`; the pictures are listed in its files."""

    whitening: str
    """Digest of the whitening applied to the features."""
    version: str
    threshold: float
    """Minimum cosine similarity of near duplicates."""
    images: int
    compared: int
    """Pictures that the run compared with all others."""
    exact_duplicates: int
    near_duplicates: int
    groups: int
    crossing: Counts = Field(default_factory=dict)
    """Kind and attribute -> number of pairs that differ in it."""
    crossing_groups: Counts = Field(default_factory=dict)
    """Attribute -> number of groups with several values of it."""
    labels: Counts = Field(default_factory=dict)
    near_share: dict[str, float] = Field(default_factory=dict)
    """Label -> share of its images that have a near duplicate with the same label."""


class ClassifierStatistics(Statistics):
    """Statistics of `fruit_classifier`."""

    model_sha256: str
    """Digest of the backbone."""
    pca_model: str | None
    """Digest of the PCA between backbone and head; None if the head uses the features."""
    version: str
    classes: int
    images: int
    """Labelled images that it was trained on."""
    files_read: int
    """Feature files that the run read for the sums."""
    model_bytes: int
    temperature: float
    accuracy: dict[str, float] = Field(default_factory=dict)
    """Question -> accuracy on the held-out images."""
    calibration_error: float | None = None
    greatest_difference: float = 0.0
    """Largest difference between the LiteRT file's probabilities and the head's."""
    milliseconds: float = 0.0
    """Time per picture on one core."""
    reason: str = ""
    """Why there is no classifier, if `classes` is 0."""
    comparisons: tuple[Comparison, ...] = ()
    """Comparisons with the candidate, if there is one."""


class LabelIssuesStatistics(Statistics):
    """Statistics of `label_issues`; the images are listed in its files."""

    neighbours: str = ""
    """Digest of what must not change for an update of the neighbours."""
    labelled: int
    """Images with a label; `rows` counts those that could be evaluated."""
    issues: int
    to_label: int = 0
    """Unlabelled photos that were selected to be labelled next."""


def joint_digest(*digests: str) -> str:
    """The combined digest of several inputs."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _least(one: N | None, other: N | None) -> N | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _greatest(one: N | None, other: N | None) -> N | None:
    return max((value for value in (one, other) if value is not None), default=None)
