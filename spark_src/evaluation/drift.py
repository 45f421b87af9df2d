"""Whether images that came since a PCA was fitted are like those that it was fitted on.

What an image has outside the components' space is what they cannot say of it: of a new kind of
picture that is more. No Dagster here; nothing that is kept names an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.errors import UnreadableVersionError
from spark_src.feature_parts import KEY
from spark_src.features.incremental import INDEX, index_of
from spark_src.io.locations import Location
from spark_src.pca import files as pca_files
from spark_src.pca.fit import Fit, fit_split
from spark_src.pca.model import PcaModel, Sums, fit_sums
from spark_src.storage import Storage, Version
from spark_src.tables.vector_files import VECTORS_PER_BLOCK, in_tasks, read_rows

FILE = "reference.parquet"

HELD_OUT = 10
"""One of so many images is left out of a second fit: a model fits its own images too well."""

FEW = 20_000
"""Of more images, one in ten or none makes no difference to the model."""

MOST_IMAGES = 512
MOST_BLOCKS = 16
"""Read at most, of the reference and of what came: 160 MB."""

END = 0.01
"""The share of the reference that is beyond what counts as its end."""

UNLIKELY = 1e-3
"""A batch of familiar images has so many beyond the end no oftener than this."""

FAR = 2.0
"""Of a batch's mean, in standard deviations a component. One image alone is about 1 away, all of
one fruit of Fruits-360 are 0.5."""

GROSS = 2.0
"""Of one image, as a multiple of the reference's end: no chance explains that."""

WORST = 10

Matrix = NDArray[np.float32]
Tasks = list[tuple[Location, NDArray[np.int64]]]

SCHEMA = pa.schema(
    [
        ("residuals", pa.list_(pa.float64())),
        ("deviations", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, eq=False)
class Reference:
    """What familiar images look like to a model."""

    residuals: NDArray[np.float64]
    """(images,): the lengths of what is outside the components' space, in order."""
    deviations: NDArray[np.float64]
    """(n_components,): the standard deviation of each component."""

    @property
    def beyond(self) -> int:
        """How many of them are at the end or beyond."""
        return max(1, round(END * len(self.residuals)))

    @property
    def end(self) -> float:
        """The length that hardly a familiar image exceeds."""
        return float(self.residuals[-self.beyond])


@dataclass(frozen=True)
class Drift:
    """How images that came compare with the reference."""

    came: int
    looked_at: int
    beyond: int
    """How many have more outside the components' space than the reference's end."""
    chance: float
    """How likely so many are beyond it where they are like the reference."""
    residual: float
    """Their median length outside, as a multiple of the reference's median."""
    shift: float
    """How far their mean is from the reference's, in standard deviations a component."""
    worst: tuple[tuple[str, float], ...]
    """Paths, and the length outside as a multiple of the reference's end."""

    @property
    def familiar(self) -> bool:
        """Whether chance explains what is beyond, and the mean is about where it was."""
        gross = any(length > GROSS for _, length in self.worst)
        return self.chance >= UNLIKELY and self.shift <= FAR and not gross


def reference(spark: SparkSession, features: Version, fit: Fit) -> Reference | None:
    """What images that the model was not fitted on, but might have been, look like to it.

    Args:
        spark: shares out the reading.
        features: the version that the model was fitted on.
        fit: the model with its sums.

    Returns:
        None where there are too few images to leave any out.
    """
    if not (features.location / INDEX).exists():
        return None
    rows, split = index_of(features), fit_split(features)
    rows = rows if split is None else rows[rows["split"] == split]
    chosen = _spread(rows, min(MOST_IMAGES, len(rows) // HELD_OUT))
    if len(rows) - len(chosen) <= fit.model.n_components or len(chosen) < HELD_OUT:
        return None
    vectors = np.concatenate(in_tasks(spark, _tasks(chosen, features.location), _read))
    model = fit.model
    if len(rows) < FEW:
        others = fit.sums - Sums.of(vectors)
        model = fit_sums(others, model.n_components, model.model)
    components, residuals = _inside_and_outside(vectors, model)
    return Reference(np.sort(residuals), components.std(axis=0))


def save(found: Reference | None, folder: Location) -> None:
    """Keep it beside the model; nothing where there is none."""
    if found is None:
        return
    row = {
        "residuals": found.residuals.tolist(),
        "deviations": found.deviations.tolist(),
    }
    file = folder / FILE
    pq.write_table(pa.Table.from_pylist([row], SCHEMA), file.path, filesystem=file.filesystem)


def load(folder: Location) -> Reference | None:
    """Read what `save` wrote; None where nothing was kept.

    Raises:
        UnreadableVersionError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        row = pq.read_table(file.path, filesystem=file.filesystem).to_pylist()[0]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Make a new one with: "
            "uv run dagster asset materialize --select 'pca_components+'"
        ) from error
    return Reference(np.array(row["residuals"]), np.array(row["deviations"]))


def since_last_fit(versions: Storage) -> Drift | str:
    """Hold the images that came last to the model that was fitted before they came.

    Returns:
        The comparison; or why there is nothing to compare.

    Raises:
        NothingStoredError: there are no features.
        UnreadableVersionError: a file is damaged or gone.
    """
    features = versions.current("mobilenet_features")
    before = {kept.name: kept for kept in versions.kept(features.asset)}
    before.pop(features.name)
    fits = [fit for fit in versions.kept("pca_model") if fit.facts.get("features") in before]
    if not fits:
        return "no PCA is kept that was fitted before the last images came"
    fit = fits[0]
    earlier, found = before[fit.facts["features"]], load(fit.location)
    if features.facts["models"] != [fit.facts["model"]]:
        return "the last features are of another model than the PCA before them"
    if found is None:
        return "the PCA before the last images was fitted on too few to compare with"
    came = _came(earlier, features)
    if not len(came):
        return "no image came since the PCA before was fitted"
    return _compare(came, features.location, pca_files.load(fit.location), found)


def _came(earlier: Version, features: Version) -> pd.DataFrame:
    if not all((version.location / INDEX).exists() for version in (earlier, features)):
        return pd.DataFrame()
    keys = ["path", *KEY]
    known = index_of(earlier)[keys].assign(known=True)
    rows = index_of(features).merge(known, on=keys, how="left")
    return rows[rows["known"].isna()]


def _compare(came: pd.DataFrame, folder: Location, pca: PcaModel, found: Reference) -> Drift:
    chosen = _spread(came, MOST_IMAGES)
    vectors = np.concatenate([read_rows(file, rows) for file, rows in _tasks(chosen, folder)])
    components, residuals = _inside_and_outside(vectors, pca)
    least = float(np.finfo(np.float32).tiny)
    shift = np.sqrt(np.mean((components.mean(axis=0) / np.maximum(found.deviations, least)) ** 2))
    ratios = residuals / max(found.end, least)
    beyond = int((ratios > 1).sum())
    worst = np.argsort(-ratios, kind="stable")[:WORST]
    return Drift(
        came=len(came),
        looked_at=len(chosen),
        beyond=beyond,
        chance=chance(beyond, len(chosen), found.beyond, len(found.residuals)),
        residual=float(np.median(residuals)) / max(float(np.median(found.residuals)), least),
        shift=float(shift),
        worst=tuple((str(chosen["path"].iloc[n]), float(ratios[n])) for n in worst),
    )


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spread over at most so many blocks, in the order of files."""
    rows = rows.sort_values(["file", "row"], ignore_index=True)
    blocks = rows["file"] + "/" + (rows["row"] // VECTORS_PER_BLOCK).astype(str)
    names = blocks.unique()
    kept = names[_evenly(len(names), MOST_BLOCKS)]
    rows = rows[blocks.isin(kept)]
    return rows.iloc[_evenly(len(rows), most)]


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _tasks(rows: pd.DataFrame, folder: Location) -> Tasks:
    return [
        (Location(folder.scheme, str(file)), places["row"].to_numpy(np.int64))
        for file, places in rows.groupby("file", sort=True)
    ]


def _read(tasks: Iterable[tuple[Location, NDArray[np.int64]]]) -> Iterator[Matrix]:
    for file, rows in tasks:
        yield read_rows(file, rows)


def _inside_and_outside(
    vectors: Matrix, pca: PcaModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The components, and the length of what is left: (n, k) and (n,)."""
    centred = vectors - pca.mean
    components = centred @ pca.components.T
    outside = (centred**2).sum(axis=1) - (components**2).sum(axis=1)
    return components, np.sqrt(np.maximum(outside, 0))


def chance(beyond: int, images: int, beyond_there: int, images_there: int) -> float:
    """How likely at least so many new images exceed the k-th largest of the old, if all are alike.

    Exact whatever the distribution is: then the greatest of all are drawn from old and new without
    regard to which they are (hypergeometric), and fewer than k of them are old.

    Args:
        beyond: how many new ones exceed it.
        images: how many new ones there are.
        beyond_there: k.
        images_there: how many old ones there are.
    """
    greatest = beyond + beyond_there - 1
    ways = sum(
        math.comb(images_there, old) * math.comb(images, greatest - old)
        for old in range(beyond_there)
    )
    return ways / math.comb(images + images_there, greatest)
