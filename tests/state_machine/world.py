"""Runs that write tiny pictures, features and models, planned like the real assets.

No tests here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from spark_src.images.preprocess import PIXELS
from spark_src.tables.audit import Audit, require_valid, vector_statistics
from spark_src.tables.change import Change
from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import discard, new_name, open_parquet, write_file, write_whole
from spark_src.tables.schemas import MOBILENET_FEATURES, RAW_IMAGES
from spark_src.tables.statistics import (
    FeaturesStatistics,
    MobilenetModelStatistics,
    Statistics,
    VectorStatistics,
)
from tests.small_tables import ASSET as RAW
from tests.small_tables import digest_of, picture_rows, statistics_of

MODEL = "mobilenet_model"
FEATURES = "mobilenet_features"
ASSETS = (RAW, MODEL, FEATURES)

LENGTH = 4
"""Length of a feature vector, instead of 1,280."""

Rows = frozenset[str]
"""Paths of pictures."""


def owner_of(path: str) -> str:
    """The owner of a picture."""
    return path.split("/")[1]


def features_table(rows: Iterable[str], model: str, is_valid: bool = True) -> pa.Table:
    """Features of pictures, with NaN if they are not to be valid."""
    known = sorted(rows)
    vectors = [np.full(LENGTH, len(path) if is_valid else np.nan, np.float32) for path in known]
    return pa.Table.from_pylist(
        [
            {
                "image_id": digest_of(path),
                "path": path,
                "split": "Training",
                "label": None,
                "orientation": 1,
                "features": vector,
                "model_sha256": model,
            }
            for path, vector in zip(known, vectors, strict=True)
        ],
        schema=MOBILENET_FEATURES,
    )


@dataclass(frozen=True)
class NewFile:
    """Rows of a file to be written."""

    rows: Rows
    is_valid: bool = True


@dataclass
class Writer:
    """A run that changes an asset: it starts, writes files, then commits."""

    write: TableWrite
    rows: Rows
    """All rows of the version to be committed."""
    new: list[NewFile]
    remove: list[str]
    model: str = ""
    """Digest of the model that the run creates or uses."""
    files: dict[str, Rows] = field(default_factory=dict)
    """Rows of the files written so far."""
    add: list[DataFile] = field(default_factory=list)
    has_written: bool = False
    outlived_erasure: bool = False
    """Whether an erasure was completed since the run started."""

    @property
    def asset(self) -> str:
        return self.write.asset

    @property
    def is_first(self) -> bool:
        """Whether it creates the first version of an asset without inputs."""
        return self.write.before is None and not self.write.inputs

    def write_files(self) -> None:
        """Write the files to be committed."""
        if self.asset == MODEL:
            write_whole(self.write.location / model_file(self.model), self.model.encode())
        for new in self.new:
            name = new_name(len(self.files))
            self.files[name] = new.rows
            self.add.append(self._write_file(name, new))
        self.has_written = True

    def _write_file(self, name: str, new: NewFile) -> DataFile:
        if self.asset == RAW:
            return write_file([picture_rows(sorted(new.rows))], self.write.folder, name, RAW_IMAGES)
        table = features_table(new.rows, self.model, new.is_valid)
        return write_file([table], self.write.folder, name, MOBILENET_FEATURES)

    def change(self) -> Change:
        """The audited change to be committed.

        Raises:
            AuditError: the features have NaN.
        """
        if self.asset == FEATURES:
            try:
                require_valid(
                    FEATURES, self._audit(), LENGTH, self.model, len(self.rows), len(self.rows)
                )
            except Exception:
                discard(self.write.folder, self.add)
                raise
        return Change(self.write, self.statistics(), tuple(self.add), tuple(self.remove))

    def _audit(self) -> Audit:
        found = Audit()
        for file in self.add:
            with open_parquet(self.write.folder / file.name, verify=True) as parquet:
                table = parquet.read()
            vectors = vector_statistics(table["features"].combine_chunks())
            models = frozenset(table["model_sha256"].to_pylist())
            found = found.merged(Audit(table.num_rows, vectors, models))
        return found

    def statistics(self) -> Statistics:
        """Statistics of the version."""
        return expected_statistics(self.asset, self.rows, self.model)


def model_file(digest: str) -> str:
    """Name of the file of a model."""
    return f"{digest}.tflite"


def expected_statistics(asset: str, rows: Rows, model: str) -> Statistics:
    """Expected statistics of a version with these rows."""
    if asset == RAW:
        return statistics_of(rows)
    if asset == MODEL:
        return MobilenetModelStatistics(
            digest=model,
            sha256=model,
            weights_sha256="weights",
            converter="converter",
            input_size=224,
            width_multiplier=1.0,
            greatest_difference=0.0,
            files=(model_file(model),),
        )
    vectors = vector_statistics(features_table(rows, model)["features"].combine_chunks())
    return FeaturesStatistics(
        digest=digest_of(" ".join([model, *sorted(rows)])),
        rows=len(rows),
        model_sha256=model,
        preprocessing=PIXELS,
        vectors=vectors if rows else VectorStatistics(),
        splits=Counter(Training=len(rows)),
    )


def plan_pictures(
    write: TableWrite, known: dict[str, Rows], new: Collection[str], gone: Collection[str]
) -> Writer:
    """Add new pictures in a new file; rewrite the files of removed pictures."""
    files = [NewFile(frozenset(new))] if new else []
    kept, remove = [], []
    for file in write.before.files if write.before else ():
        rows = known[file.name]
        if rows.isdisjoint(gone):
            kept.append(rows)
            continue
        remove.append(file.name)
        if rows - set(gone):
            files.append(NewFile(rows - set(gone)))
    everything = frozenset[str]().union(*kept, *(file.rows for file in files))
    return Writer(write, everything, files, remove)


def plan_features(
    write: TableWrite, known: dict[str, Rows], wanted: Rows, model: str, is_valid: bool = True
) -> Writer:
    """Features of these pictures; valid existing files are kept."""
    kept: list[Rows] = []
    remove: list[str] = []
    same_model = write.before is not None and _model_of(write.before) == model
    for file in write.before.files if write.before else ():
        if same_model and known[file.name] <= wanted:
            kept.append(known[file.name])
        else:
            remove.append(file.name)
    missing = wanted.difference(*kept)
    new = [NewFile(missing, is_valid)] if missing else []
    return Writer(write, wanted, new, remove, model)


def plan_compaction(write: TableWrite, known: dict[str, Rows]) -> Writer:
    """The same rows in one file."""
    assert write.before is not None
    names = [file.name for file in write.before.files]
    rows = frozenset[str]().union(*(known[name] for name in names))
    model = _model_of(write.before) if write.asset == FEATURES else ""
    return Writer(write, rows, [NewFile(rows)] if rows else [], names, model)


def plan_model(write: TableWrite, digest: str) -> Writer:
    """A model with this digest."""
    return Writer(write, frozenset([digest]), [], [], digest)


def begin_features(
    tables: Tables,
    run_id: str,
    known: dict[str, Rows],
    inputs: tuple[Snapshot, Snapshot],
    is_valid: bool = True,
) -> Writer:
    """Start a run that computes features of pictures with a model."""
    write = tables.begin(FEATURES, run_id, inputs)
    raw, model = inputs
    wanted = frozenset[str]().union(*(known[file.name] for file in raw.files))
    return plan_features(write, known, wanted, _model_of(model), is_valid)


def _model_of(snapshot: Snapshot) -> str:
    if snapshot.asset == MODEL:
        return snapshot.typed(MobilenetModelStatistics).sha256
    return snapshot.typed(FeaturesStatistics).model_sha256
