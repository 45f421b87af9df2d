"""Stores and updates `data_health` as a folder of Parquet files."""

from __future__ import annotations

import io
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.duplicates import THRESHOLD, Pairs, near_pairs
from spark_src.evaluation.whitening import Units, Whitening
from spark_src.io.locations import Location
from spark_src.pca.files import load_sums
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.parquet import ROWS_PER_BLOCK, open_parquet, write_whole
from spark_src.tables.reading import read_rows
from spark_src.tables.schemas import KEYS
from spark_src.tables.statistics import HealthStatistics, PcaModelStatistics, joint_digest
from spark_src.tables.vectors import to_matrix

if TYPE_CHECKING:
    import pandas as pd

    from spark_src.evaluation.health import Health

VERSION = "3"
"""Version of the algorithm. Increase it if the same features give different pairs."""

PAIRS, IMAGES, GROUPS, FINDINGS = "pairs", "compared_images", "groups", "findings"


@dataclass(frozen=True, eq=False)
class Refresh:
    """The updated data health, and the work done."""

    health: Health
    image_ids: NDArray[np.object_]
    """Ids of all pictures compared so far."""
    compared: int
    """Number of pictures newly compared with all others."""
    whitening: str
    """Digest of the whitening."""


def whitening_of(pca_model: Snapshot) -> Whitening:
    """The whitening of the images that `pca_model` was fitted on. It changes only with a refit.

    Raises:
        UnreadableVersionError: the sums are missing or damaged.
    """
    known = pca_model.typed(PcaModelStatistics)
    return Whitening.from_sums(load_sums(pca_model.location / known.fitted_sums).sums)


def digest_of(features: Snapshot, pca_model: Snapshot, threshold: float) -> str:
    """Digest of everything that determines the result."""
    inputs = (features.statistics.digest, pca_model.statistics.digest)
    return joint_digest(*inputs, f"{threshold:g}", VERSION)


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored files are up to date."""
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    return (write.location / before.statistics.files[0]).is_folder()


def refresh(
    features: Snapshot,
    pca_model: Snapshot,
    before: Snapshot | None,
    threshold: float = THRESHOLD,
) -> Refresh:
    """Compare new pictures with all others, and keep the known pairs.

    Args:
        features: the version of `mobilenet_features`.
        pca_model: the version of `pca_model`.
        before: the current version of `data_health`.
        threshold: minimum cosine of near duplicates.

    Raises:
        UnreadableVersionError: a feature file is damaged or missing.
    """
    import pandas as pd  # takes 0.5 s

    from spark_src.evaluation.health import health

    whitening = whitening_of(pca_model)
    keys = read_rows(features, [*KEYS]).to_pandas()
    image_ids = np.unique(keys["image_id"].to_numpy(object))
    known_ids, known_pairs = _known(before, whitening, threshold)
    pairs = _renumber(known_pairs, known_ids, image_ids)
    rows = np.flatnonzero(~pd.Index(image_ids).isin(known_ids))
    if len(rows):
        vectors = _read_units(features, whitening, image_ids)
        pairs = pairs.with_others(near_pairs(vectors, rows, threshold))
    return Refresh(health(keys, image_ids, pairs), image_ids, len(rows), whitening.digest)


def save(found: Refresh, write: TableWrite, digest: str, threshold: float) -> HealthStatistics:
    """Write the files; return the statistics for the commit."""
    import pandas as pd  # takes 0.5 s

    from spark_src.evaluation.health import CROSSINGS

    state = found.health
    name = f"{digest[:16]}-{uuid.uuid4().hex[:8]}"
    tables = {
        PAIRS: _pairs_table(state.pairs),
        IMAGES: pd.DataFrame({"image_id": found.image_ids}),
        GROUPS: state.groups,
        FINDINGS: state.findings,
    }
    for kind, rows in tables.items():
        _write(rows, write.location / name / f"{kind}.parquet")
    crossing = {
        f"{'exact' if exact else 'near'} duplicates in two {attribute}s": len(
            state.crossing(attribute, exact)
        )
        for exact in (True, False)
        for attribute in CROSSINGS
    }
    return HealthStatistics(
        digest=digest,
        rows=len(state.groups),
        files=(name,),
        whitening=found.whitening,
        version=VERSION,
        threshold=threshold,
        images=state.images,
        compared=found.compared,
        exact_duplicates=state.exact_duplicates,
        near_duplicates=state.near_duplicates,
        groups=state.n_groups,
        crossing=crossing,
        crossing_groups={name: state.n_groups_crossing(name) for name in CROSSINGS},
        labels=state.labels,
        near_share=state.near_share,
    )


def load(snapshot: Snapshot, kind: str) -> pd.DataFrame:
    """Like `read_table`, for pandas."""
    return read_table(snapshot, kind).to_pandas()


def read_table(snapshot: Snapshot, kind: str) -> pa.Table:
    """One of the tables of a version: `pairs`, `groups`, `findings`, `compared_images`.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    file = snapshot.data_location / f"{kind}.parquet"
    try:
        return pq.ParquetFile(io.BytesIO(file.read())).read()
    except (OSError, pa.ArrowException) as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Delete it, and recompute it with: "
            "uv run dagster asset materialize --select data_health"
        ) from error


def _known(
    before: Snapshot | None, whitening: Whitening, threshold: float
) -> tuple[NDArray[np.object_], Pairs]:
    """The ids of the pictures compared before, and their pairs by position."""
    empty = np.zeros(0, object), Pairs.none()
    if before is None:
        return empty
    known = before.typed(HealthStatistics)
    current = (whitening.digest, threshold, VERSION)
    if (known.whitening, known.threshold, known.version) != current:
        return empty
    try:
        images, pairs = load(before, IMAGES), load(before, PAIRS)
    except UnreadableVersionError:
        return empty
    first, second = (pairs[side].to_numpy(np.int64) for side in ("first", "second"))
    return images["image_id"].to_numpy(object), Pairs(first, second, pairs["cosine"].to_numpy())


def _renumber(pairs: Pairs, before: NDArray[np.object_], image_ids: NDArray[np.object_]) -> Pairs:
    """The pairs of pictures that are still there, by their new positions."""
    import pandas as pd  # takes 0.5 s

    positions = pd.Index(image_ids).get_indexer(pd.Index(before)).astype(np.int64)
    first, second = positions[pairs.first], positions[pairs.second]
    kept = (first >= 0) & (second >= 0)
    return Pairs(first[kept], second[kept], pairs.cosine[kept])


def _pairs_table(pairs: Pairs) -> pd.DataFrame:
    """The pairs as row numbers of `compared_images`, which take a sixth of the space of ids."""
    import pandas as pd  # takes 0.5 s

    first, second = (side.astype(np.int32) for side in (pairs.first, pairs.second))
    return pd.DataFrame({"first": first, "second": second, "cosine": pairs.cosine})


def _read_units(features: Snapshot, whitening: Whitening, ids: NDArray[np.object_]) -> Units:
    """The whitened features of the pictures, in the order of their ids."""
    found = np.zeros((len(ids), whitening.matrix.shape[1]), np.float16)

    def read(file: Location) -> None:
        with open_parquet(file) as parquet:
            columns = ["image_id", "features"]
            for batch in parquet.iter_batches(ROWS_PER_BLOCK, columns=columns, use_threads=False):
                indices = np.searchsorted(ids, np.asarray(batch["image_id"].to_pylist(), object))
                found[indices] = whitening.units(to_matrix(batch["features"]))

    with ThreadPoolExecutor(2, "reader") as pool:
        list(pool.map(read, features.locations))
    return found


def _write(rows: pd.DataFrame, file: Location) -> None:
    content = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    write_whole(file, content.getvalue())
