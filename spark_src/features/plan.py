"""Plans which features to compute: those of pictures that no earlier run processed. No Spark.

Each file of `raw_images` has a file in `mobilenet_features`. Its name contains the source file and
the fingerprint, so missing files and files finished by killed runs are found by name.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_src.features.interrupted import STAGED, find_uncommitted
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, Snapshot, TableWrite
from spark_src.tables.parquet import read_columns
from spark_src.tables.statistics import FeaturesStatistics

KEY = ("image_id", "orientation")
"""Columns of an image that, with the fingerprint, determine its features."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Computation:
    """The work of one task: rows of a file of `raw_images`."""

    source: Location
    rows: Rows
    """Row numbers, in ascending order."""
    name: str
    """Name of the feature file, relative to the table's folder."""


@dataclass(frozen=True)
class Assembly:
    """A feature file whose vectors are copied from other files."""

    source: Location
    """The file of `raw_images`."""
    name: str
    vectors: tuple[Location, ...]
    """Files that hold the vectors."""
    files: NDArray[np.int32]
    """For each row: the index in `vectors`."""
    rows: Rows
    """For each row: the row in that file."""


@dataclass(frozen=True)
class FeaturesPlan:
    """The features to compute, and the files that can be reused."""

    images: Snapshot
    model_sha256: str
    fingerprint: str
    kept: tuple[DataFile, ...]
    removed: tuple[DataFile, ...]
    adopted: tuple[DataFile, ...]
    """Complete files of a run that was killed before its commit."""
    computations: tuple[Computation, ...]
    assemblies: tuple[Assembly, ...]
    carried_over: int
    """Images whose features are in the current version."""
    resumed: int
    """Images whose features come from an interrupted run."""
    reuse_note: str
    """Why existing features are, or are not, used."""

    @property
    def n_computed(self) -> int:
        """How many distinct pictures have to be computed."""
        return sum(len(task.rows) for task in self.computations)

    @property
    def is_empty(self) -> bool:
        """Whether the current version is up to date."""
        return not (self.removed or self.adopted or self.computations or self.assemblies)

    def __str__(self) -> str:
        return (
            f"{self.images.rows:,} images: {self.n_computed:,} different pictures to compute, "
            f"{self.carried_over:,} carried over, {self.resumed:,} done by an interrupted run. "
            f"{self.reuse_note}"
        )


def features_fingerprint(model_sha256: str) -> str:
    """Fingerprint of the model and the definition of its input pixels."""
    return hashlib.sha256(f"{model_sha256} {PIXELS}".encode()).hexdigest()[:12]


def plan_features(
    write: TableWrite, images: Snapshot, model_sha256: str, recompute: bool = False
) -> FeaturesPlan:
    """Compare the files of `raw_images` with the existing features.

    Args:
        write: the change to `mobilenet_features`: its current version and its folder.
        images: the version of `raw_images`.
        model_sha256: the model; features of other models are not used.
        recompute: whether to ignore all existing features.
    """
    before = write.before.files if write.before else ()
    fingerprint = features_fingerprint(model_sha256)
    suffix = f"{fingerprint}.{write.run_id[:8]}" if recompute else fingerprint
    wanted = {file.name.removesuffix(".parquet"): file for file in images.files}
    usable = () if recompute or not _has_model_and_pixels(write.before, model_sha256) else before
    sources = {file.name: _source_of(file.name, fingerprint) for file in usable}
    kept = tuple(file for file in usable if sources[file.name] in wanted)
    done = {sources[file.name] for file in kept}
    missing = {stem: file for stem, file in wanted.items() if stem not in done}
    adopted: tuple[DataFile, ...] = ()
    staged: tuple[Location, ...] = ()
    if missing and not recompute:
        adopted, staged = find_uncommitted(write, missing, suffix)
    finished = {file.name.removesuffix(f".{suffix}.parquet") for file in adopted}
    todo = [file for stem, file in missing.items() if stem not in finished]
    reusable = [*(write.folder / file.name for file in adopted), *staged]
    computations, assemblies, carried, resumed = _split_into_tasks(
        [_new_file(images, file, suffix) for file in todo],
        [write.folder / file.name for file in usable],
        reusable,
        write.folder,
    )
    return FeaturesPlan(
        images=images,
        model_sha256=model_sha256,
        fingerprint=suffix,
        kept=kept,
        removed=tuple(file for file in before if file not in kept),
        adopted=adopted,
        computations=computations,
        assemblies=assemblies,
        carried_over=carried + sum(file.rows for file in kept),
        resumed=resumed + sum(file.rows for file in adopted),
        reuse_note=_reuse_note(write.before, model_sha256, recompute),
    )


def _has_model_and_pixels(before: Snapshot | None, model_sha256: str) -> bool:
    """Whether a version has features of this model and of these pixels."""
    if before is None:
        return False
    known = before.typed(FeaturesStatistics)
    return (known.model_sha256, known.preprocessing) == (model_sha256, PIXELS)


def _source_of(name: str, fingerprint: str) -> str | None:
    """The source file in `raw_images` of a feature file, from its name.

    The source's name may contain dots if another program compacted the table.

    Returns:
        None if the name does not contain it: another program wrote the file.
    """
    source, dot, _ = name.rpartition(f".{fingerprint}.")
    return source if dot else None


def _new_file(images: Snapshot, file: DataFile, suffix: str) -> _NewFile:
    stem, token = file.name.removesuffix(".parquet"), uuid.uuid4().hex[:8]
    staged = f"{STAGED}/{suffix}/{stem}.{suffix}.{token}.parquet"
    return _NewFile(images.file_location(file), f"{stem}.{suffix}.parquet", staged)


def _reuse_note(before: Snapshot | None, model_sha256: str, recompute: bool) -> str:
    if recompute:
        return "All features are recomputed, as requested."
    if before is None:
        return "There are no earlier features."
    known = before.typed(FeaturesStatistics)
    if known.model_sha256 != model_sha256:
        return f"Version {before.version} was computed by another model and is not reused."
    if known.preprocessing != PIXELS:
        return f"Version {before.version} used other pixels and is not reused."
    return f"Features of version {before.version} are reused."


@dataclass(frozen=True)
class _NewFile:
    """A feature file to be written for a file of `raw_images`."""

    source: Location
    name: str
    staged_name: str
    """File for the computed rows, if only some rows of the file are computed. The name is unique,
    so files that an interrupted run staged are not overwritten."""


def _split_into_tasks(
    new: Sequence[_NewFile],
    current: Sequence[Location],
    left: Sequence[Location],
    folder: Location,
) -> tuple[tuple[Computation, ...], tuple[Assembly, ...], int, int]:
    """Split the work into tasks, and locate the existing vectors.

    Returns:
        Computations; assemblies; numbers of images carried over and resumed.
    """
    if not new:
        return (), (), 0, 0
    sources = [file.source for file in new]
    tables = [read_columns(files, KEY) for files in (current, left, sources)]
    sizes = [table.num_rows for table in tables]
    first = _first_with_same_key([table for table in tables if table.num_rows])
    files, rows = (_column(tables, name) for name in ("file", "row"))
    n_known = sizes[0] + sizes[1]
    first = first[n_known:]
    is_own = first == np.arange(n_known, n_known + sizes[2])
    origin = np.where(first < sizes[0], 0, np.where(first < n_known, 1, 2))
    bounds = np.searchsorted(files[n_known:], np.arange(len(new) + 1))
    computed = [np.flatnonzero(part) for part in np.split(is_own, bounds[1:-1])]
    is_whole = [len(own) == size for own, size in zip(computed, np.diff(bounds), strict=True)]
    targets = [
        file.name if whole else file.staged_name for file, whole in zip(new, is_whole, strict=True)
    ]
    written = [folder / target for target in targets]
    vectors = _Vectors(([*current], [*left], written), computed)
    computations = [
        Computation(file.source, own, target)
        for file, own, target in zip(new, computed, targets, strict=True)
        if len(own)
    ]
    assemblies = []
    for number, file in enumerate(new):
        if is_whole[number]:
            continue
        mine = slice(bounds[number], bounds[number + 1])
        wanted = first[mine]
        found = vectors.assembly(file, origin[mine], files[wanted], rows[wanted])
        assemblies.append(found)
    carried, resumed = (int((origin == which).sum()) for which in (0, 1))
    return tuple(computations), tuple(assemblies), carried, resumed


@dataclass(frozen=True)
class _Vectors:
    """Files that contain vectors."""

    locations: tuple[list[Location], list[Location], list[Location]]
    """Files of the current version, of interrupted runs, and of this run."""
    computed: list[Rows]
    """For each file that this run writes: the rows of its source in it."""

    def assembly(
        self, new: _NewFile, origin: NDArray[np.int64], files: Rows, rows: Rows
    ) -> Assembly:
        """Map each row of a file to the location of its vector."""
        places, which = np.unique(origin * 2**32 + files, return_inverse=True)
        locations, found = [], rows.astype(np.int64)
        for index, place in enumerate(places):
            kind, file = divmod(int(place), 2**32)
            locations.append(self.locations[kind][file])
            if kind == 2:
                mine = which == index
                found[mine] = np.searchsorted(self.computed[file], found[mine])
        return Assembly(new.source, new.name, tuple(locations), which.astype(np.int32), found)


def _first_with_same_key(tables: Sequence[pa.Table]) -> NDArray[np.int64]:
    """For each row of all tables: the first row with the same picture."""
    keys = pa.concat_tables([table.select(KEY) for table in tables])
    pictures = pa.concat_arrays(keys["image_id"].chunks).dictionary_encode()
    numbers = pictures.indices.to_numpy().astype(np.int64)
    orientations = pc.fill_null(keys["orientation"], 1).to_numpy().astype(np.int64)
    _, first, which = np.unique(numbers * 16 + orientations, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[which]
    return found


def _column(tables: Sequence[pa.Table], name: str) -> NDArray[np.int64]:
    return np.concatenate(
        [table[name].to_numpy() for table in tables if table.num_rows] or [np.empty(0, np.int64)]
    )
