"""Detects drift: whether new images differ from those that a PCA model was fitted on.

An image's residual is the part of its features outside the components' space. New kinds of
pictures have larger residuals. No Dagster; no stored result names an image.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.io.locations import Location
from spark_src.pca.files import StoredSums, unreadable_error
from spark_src.pca.model import PcaModel, Sums, fit_sums
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import open_parquet, read_columns, run_tasks, write_whole
from spark_src.tables.statistics import DriftStatistics
from spark_src.tables.vectors import FEATURES, to_matrix

FILE = "reference.parquet"

HELD_OUT = 10
"""One image in ten is held out of a second fit: residuals of fitted images are too small."""

MAX_IMAGES_TO_REFIT = 20_000
"""With more images, holding out one in ten does not change the model noticeably."""

MAX_IMAGES = 512
MAX_FILES = 16
"""Maximum number of files to read for the reference, and of new images: 160 MB."""

TAIL_SHARE = 0.01
"""Share of the reference's residuals that are at or above its tail threshold."""

MIN_CHANCE = 1e-3
"""Significance level: less likely batches are not considered familiar."""

MAX_SHIFT_DEVIATIONS = 2.0
"""Maximum shift of a batch's mean, in standard deviations per component. A single image has
about 1, all images of one fruit of Fruits-360 have 0.5."""

MAX_RESIDUAL_RATIO = 2.0
"""Maximum residual of one image, as a multiple of the reference's tail threshold."""

N_WORST = 10

Matrix = NDArray[np.float32]
SCHEMA = pa.schema(
    [
        ("residuals", pa.list_(pa.float64())),
        ("deviations", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, eq=False)
class Reference:
    """Residuals of held-out images under a model."""

    residuals: NDArray[np.float64]
    """(images,): norms of the parts outside the components' space, in ascending order."""
    deviations: NDArray[np.float64]
    """(n_components,): the standard deviation of each component."""

    @property
    def n_in_tail(self) -> int:
        """How many residuals are at or above the tail threshold."""
        return max(1, round(TAIL_SHARE * len(self.residuals)))

    @property
    def tail_threshold(self) -> float:
        """A residual that few familiar images exceed."""
        return float(self.residuals[-self.n_in_tail])


def reference(
    spark: SparkSession, features: Snapshot, model: PcaModel, stored: StoredSums
) -> Reference | None:
    """Compute the reference from images held out of the fit.

    Args:
        spark: distributes the reading.
        features: the version that the model was fitted on.
        model: the fitted model.
        stored: the sums that it was fitted from.

    Returns:
        None if there are too few images to hold any out.
    """
    rows = _fitted_rows(features, stored.split)
    chosen = _spread(rows, min(MAX_IMAGES, rows.num_rows // HELD_OUT))
    if rows.num_rows - chosen.num_rows <= model.n_components or chosen.num_rows < HELD_OUT:
        return None
    parts = run_tasks(spark, _rows_of_files(chosen, features), _read_all, max_tasks=16)
    vectors = np.concatenate(parts)
    if rows.num_rows < MAX_IMAGES_TO_REFIT:
        others = stored.sums - Sums.from_features(vectors)
        model = fit_sums(others, model.n_components, model.model_sha256)
    components, residuals = _components_and_residuals(vectors, model)
    return Reference(np.sort(residuals), components.std(axis=0))


def save(found: Reference | None, folder: Location) -> None:
    """Write the reference next to the model, if there is one."""
    if found is None:
        return
    row = {
        "residuals": found.residuals.tolist(),
        "deviations": found.deviations.tolist(),
    }
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], SCHEMA), content)
    write_whole(folder / FILE, content.getvalue())


def load(folder: Location) -> Reference | None:
    """Read what `save` wrote; None if there is no reference.

    Raises:
        UnreadableVersionError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        row = pq.read_table(io.BytesIO(file.read())).to_pylist()[0]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise unreadable_error(file, error) from error
    return Reference(np.array(row["residuals"]), np.array(row["deviations"]))


def compare(
    added: pa.Table, features: Snapshot, pca: PcaModel, found: Reference
) -> DriftStatistics:
    """Compare new images with the reference of a model that was fitted without them.

    Args:
        added: file (index in `features.files`) and row of each new image.
        features: the version that contains them.
        pca: the model.
        found: its reference.

    Returns:
        Counts and ratios. The images are `familiar` if the number above the reference's tail
        threshold is plausible, their mean has not shifted, and no residual is extreme.
    """
    chosen = _spread(added, MAX_IMAGES)
    vectors = np.concatenate(list(_read_all(_rows_of_files(chosen, features))))
    components, residuals = _components_and_residuals(vectors, pca)
    least = float(np.finfo(np.float32).tiny)
    shift = np.sqrt(np.mean((components.mean(axis=0) / np.maximum(found.deviations, least)) ** 2))
    ratios = residuals / max(found.tail_threshold, least)
    beyond = int((ratios > 1).sum())
    likely = chance(beyond, len(ratios), found.n_in_tail, len(found.residuals))
    order = np.argsort(-ratios, kind="stable")[:N_WORST]
    positions = [(chosen["file"][int(n)].as_py(), chosen["row"][int(n)].as_py()) for n in order]
    worst = tuple(
        (features.files[file].name, row, float(ratios[n]))
        for (file, row), n in zip(positions, order, strict=True)
    )
    gross = bool((ratios > MAX_RESIDUAL_RATIO).any())
    return DriftStatistics(
        new_images=added.num_rows,
        compared=len(ratios),
        beyond=beyond,
        chance=likely,
        residual=float(np.median(residuals)) / max(float(np.median(found.residuals)), least),
        shift=float(shift),
        worst=worst,
        familiar=likely >= MIN_CHANCE and float(shift) <= MAX_SHIFT_DEVIATIONS and not gross,
    )


def chance(n_beyond: int, n_new: int, k: int, n_old: int) -> float:
    """Probability that at least `n_beyond` new images exceed the k-th largest old residual.

    The null hypothesis is that old and new images have the same distribution. The probability is
    exact for every distribution: the largest residuals are then a random sample of old and new
    images (hypergeometric), of which fewer than k are old.

    Args:
        n_beyond: the number of new images above it.
        n_new: the number of new images.
        k: the rank of that residual, counted from the largest.
        n_old: the number of old images.
    """
    n_greatest = n_beyond + k - 1
    ways = sum(math.comb(n_old, old) * math.comb(n_new, n_greatest - old) for old in range(k))
    return ways / math.comb(n_new + n_old, n_greatest)


def _fitted_rows(features: Snapshot, split: str | None) -> pa.Table:
    rows = read_columns(features.locations, ["split"])
    if split is not None:
        rows = rows.filter(pc.equal(rows["split"], split))
    return rows.select(["file", "row"])


def _spread(rows: pa.Table, most: int) -> pa.Table:
    """At most `most` rows, evenly spread over at most `MAX_FILES` files, in order."""
    files = pc.unique(rows["file"]).to_numpy(zero_copy_only=False)
    kept = pa.array(np.sort(files)[_evenly(len(files), MAX_FILES)], pa.int32())
    rows = rows.filter(pc.is_in(rows["file"], kept))
    rows = rows.sort_by([("file", "ascending"), ("row", "ascending")])
    return rows.take(pa.array(_evenly(rows.num_rows, most)))


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _rows_of_files(rows: pa.Table, features: Snapshot) -> list[tuple[Location, NDArray[np.int64]]]:
    files, positions = rows["file"].to_numpy(), rows["row"].to_numpy().astype(np.int64)
    return [(features.locations[n], positions[files == n]) for n in np.unique(files)]


def _read_all(tasks: Iterable[tuple[Location, NDArray[np.int64]]]) -> Iterator[Matrix]:
    for file, rows in tasks:
        with open_parquet(file, verify=True) as parquet:
            column = parquet.read(columns=["features"], use_threads=False)["features"]
        yield to_matrix(column.combine_chunks().take(pa.array(rows)))


def _components_and_residuals(
    vectors: Matrix, pca: PcaModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The components, and the norms of the residuals: (n, k) and (n,)."""
    centred = vectors.reshape(-1, FEATURES) - pca.mean
    components = centred @ pca.components.T
    outside = (centred**2).sum(axis=1) - (components**2).sum(axis=1)
    return components, np.sqrt(np.maximum(outside, 0))
