"""Reads picture files into a table of clean pictures and a table of rejected files.

Only new or changed files are read. Spark workers write the data files directly.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
from pyspark import Accumulator

from spark_src.images.labels import Labels
from spark_src.images.layout import is_photo, split_and_label
from spark_src.images.reader import ReadFailure, SourceFile, read_ahead
from spark_src.images.rejection import Limits, PictureRejected, Reason
from spark_src.images.validate import clean_picture
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile
from spark_src.tables.parquet import write_file
from spark_src.tables.schemas import RAW_IMAGES, REJECTED_IMAGES

ROWS_PER_GROUP = 128
"""Pictures per row group. Bounds the memory a worker needs for large photos."""

DIGEST_MODULUS = 2**128


@dataclass(frozen=True)
class Batch:
    """The files that one task reads, and the name of the data file it writes."""

    name: str
    files: bytes
    """Columns of `listing.FILES` as an Arrow stream, to avoid a Python object per file."""


@dataclass(frozen=True)
class Ingested:
    """The result of ingesting a batch."""

    written: DataFile | None
    """None if no picture was accepted."""
    rejected: bytes
    """Columns of `rejected_images`, as an Arrow stream."""
    digest: int
    splits: Counter[str]
    labels: Counter[str]


def ingester(
    root: Location,
    folder: Location,
    limits: Limits,
    done: Accumulator[int] | None = None,
    labels: Labels | None = None,
) -> Callable[[Iterable[Batch]], Iterator[Ingested]]:
    """Return the task function: read ahead, validate, and write one file of `raw_images`.

    Args:
        root: the input folder.
        folder: the folder of the table's data files.
        limits: size limits of files and pictures.
        done: counts the files that were processed.
        labels: corrections of the labels derived from folders.
    """
    corrected = labels or Labels()

    def ingest(batches: Iterable[Batch]) -> Iterator[Ingested]:
        for batch in batches:
            yield _ingest(batch, root, folder, limits, done, corrected)

    return ingest


def _ingest(  # noqa: PLR0913, PLR0917 - internal, called once
    batch: Batch,
    root: Location,
    folder: Location,
    limits: Limits,
    done: Accumulator[int] | None,
    corrected: Labels,
) -> Ingested:
    rejected: list[dict[str, Any]] = []
    splits, labels = Counter[str](), Counter[str]()
    digest = 0

    def accepted_rows() -> Iterator[dict[str, Any]]:
        nonlocal digest
        for row in _rows(batch, root, limits):
            if done is not None:
                done.add(1)
            if "reason" in row:
                rejected.append(row)
                continue
            row["label"] = corrected.label_of(row["path"])
            digest += row_digest(row["path"], row["image_id"], row["orientation"])
            splits[row["split"] or ""] += 1
            # The Delta log keeps the counts, so a person's folder name must not be among them.
            labels["" if is_photo(row["path"]) else row["label"] or ""] += 1
            yield row

    batches = _record_batches(accepted_rows())
    first = next(batches, None)
    written = None
    if first is not None:
        written = write_file(
            chain([first], batches),
            folder,
            batch.name,
            RAW_IMAGES,
            row_group_size=ROWS_PER_GROUP,
            incompressible=["content"],
        )
    table = pa.Table.from_pylist(rejected, schema=REJECTED_IMAGES)
    return Ingested(written, to_stream(table), digest % DIGEST_MODULUS, splits, labels)


def row_digest(path: str, image_id: str, orientation: int) -> int:
    """A picture's contribution to the table's digest. The order of rows does not matter."""
    text = f"{image_id} {orientation} {path}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])


def row_of_file(path: str, data: bytes, limits: Limits) -> dict[str, Any]:
    """The row for one file: the picture's columns, or the reason and detail of its rejection."""
    try:
        picture = clean_picture(data, limits)
    except PictureRejected as rejection:
        return {"path": path, "reason": rejection.reason.value, "detail": rejection.detail}
    split, label = split_and_label(path)
    return {
        "image_id": hashlib.sha256(picture.content).hexdigest(),
        "path": path,
        "split": split,
        "label": label,
        "content": picture.content,
        "width": picture.width,
        "height": picture.height,
        "orientation": picture.orientation,
    }


def to_stream(table: pa.Table) -> bytes:
    """Serialise a table to send it between driver and workers."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_stream(content: bytes) -> pa.Table:
    """Deserialise a table written by `to_stream`."""
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def _rows(batch: Batch, root: Location, limits: Limits) -> Iterator[dict[str, Any]]:
    """One row per file, accepted or rejected, with its listed size, time and ETag."""
    listed = from_stream(batch.files).to_pylist()
    failures = [_size_failure(row, limits) for row in listed]
    files = (
        SourceFile(row["path"], row["raw_path"] or row["path"].encode(), row["source_bytes"])
        for row, failure in zip(listed, failures, strict=True)
        if failure is None
    )
    contents = read_ahead(root, files, limits.max_bytes)
    for row, failure in zip(listed, failures, strict=True):
        found = failure if failure is not None else next(contents)[1]
        if isinstance(found, ReadFailure):
            reason = {"reason": found.reason.value, "detail": found.detail}
            outcome: dict[str, Any] = {"path": row["path"]} | reason
        else:
            outcome = row_of_file(row["path"], found, limits)
        yield row | outcome | {"bytes": row["source_bytes"]}


def _size_failure(row: dict[str, Any], limits: Limits) -> ReadFailure | None:
    """The reason to reject a file without opening it."""
    size = row["source_bytes"]
    if not size:
        return ReadFailure(Reason.EMPTY_FILE, "The file is empty; upload it again.")
    if size > limits.max_bytes:
        detail = f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}."
        return ReadFailure(Reason.TOO_MANY_BYTES, detail)
    return None


def _record_batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Batches of at most one row group. Each is freed after it is written."""
    pending: list[dict[str, Any]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == ROWS_PER_GROUP:
            yield pa.RecordBatch.from_pylist(pending, schema=RAW_IMAGES)
            pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema=RAW_IMAGES)
