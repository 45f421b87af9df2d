"""The sums a classifier is trained on: computed from feature files, stored in one .npz file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.head import ClassSums
from spark_src.io.locations import Location
from spark_src.pca.model import Sums
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import ROWS_PER_BLOCK, open_parquet
from spark_src.tables.vectors import FEATURES, to_matrix

_TRIANGLE = np.triu_indices(FEATURES)
_REMEDY = "uv run dagster asset materialize --select fruit_classifier"


@dataclass(frozen=True, eq=False)
class StoredClassSums:
    """Sums, and the files of `mobilenet_features` they were computed from."""

    sums: ClassSums
    files: frozenset[str]
    split: str | None


def sum_files(features: Snapshot, names: Iterable[str], split: str | None) -> ClassSums:
    """The sums of the labelled images in files, for one split or, if None, all of them."""

    def sum_up(name: str) -> ClassSums:
        total = ClassSums.zero()
        with open_parquet(features.location / name, verify=True) as parquet:
            columns = ["split", "label", "features"]
            for batch in parquet.iter_batches(ROWS_PER_BLOCK, columns=columns, use_threads=False):
                rows = pa.Table.from_batches([batch])
                labelled = np.array([label is not None for label in rows["label"].to_pylist()])
                if split is not None:
                    labelled &= np.array([name == split for name in rows["split"].to_pylist()])
                kept = rows.filter(pa.array(labelled))
                vectors = to_matrix(kept["features"].combine_chunks())
                total += ClassSums.from_features(vectors, kept["label"].to_pylist())
        return total

    total = ClassSums.zero()
    with ThreadPoolExecutor(2, "reader") as pool:
        for part in pool.map(sum_up, sorted(names)):
            total += part
    return total


def load_sums(file: Location) -> StoredClassSums:
    """Read a file written by `sums_content`.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    with open_npz(file) as stored:
        gram = np.zeros((FEATURES, FEATURES), np.int64)
        gram[_TRIANGLE] = stored["gram"]
        gram.T[_TRIANGLE] = stored["gram"]
        sums = Sums(int(stored["n_images"]), stored["total"], gram)
        classes = tuple(str(name) for name in stored["classes"])
        found = ClassSums(sums, classes, stored["counts"], stored["totals"])
        split = next((str(name) for name in stored["split"]), None)
        return StoredClassSums(found, frozenset(map(str, stored["files"])), split)


def sums_content(stored: StoredClassSums) -> bytes:
    """Serialise the sums. Only half of the symmetric Gram matrix is stored."""
    content, found = io.BytesIO(), stored.sums
    np.savez(
        content,
        n_images=found.sums.n_images,
        total=found.sums.total,
        gram=found.sums.gram[_TRIANGLE],
        classes=np.array(found.classes, np.str_),
        counts=found.counts,
        totals=found.totals,
        files=np.array(sorted(stored.files), np.str_),
        split=np.array([] if stored.split is None else [stored.split], np.str_),
    )
    return content.getvalue()


@contextmanager
def open_npz(file: Location) -> Iterator[Any]:
    """Open an .npz file.

    Raises:
        UnreadableVersionError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(file.read()), allow_pickle=False) as stored:
            yield stored
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable_error(file, error) from error


def unreadable_error(file: Location, error: BaseException) -> UnreadableVersionError:
    """The error for a file of the classifier that cannot be read."""
    return UnreadableVersionError(
        f"{file} cannot be read ({error}). Delete it, and recompute it with: {_REMEDY}"
    )
