"""Forgetting a person's pictures: which rows and files are theirs, and taking them out. No Dagster.

What is derived (features, PCA, CSV) is made anew by the pipeline itself from what is left: the
features are carried over, the sums of PCA lose just the rows that went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.spark.session import IMAGES_PER_TASK, read_table
from spark_src.storage import Storage, Version
from spark_src.tables.statistics import joint_digest, table_facts
from spark_src.tables.vector_files import data_files, in_tasks, key_columns, opened

PHOTOS = "photos"
"""The folder of the input in which users' photos lie, a folder a person."""

SOURCES = ("raw_images", "rejected_images")
"""Tables that are edited; every other one is made of them."""


@dataclass(frozen=True)
class Target:
    """Whose pictures: those of a person, or single ones. Known ids and paths only grow."""

    subject: str | None
    image_ids: frozenset[str]
    paths: frozenset[str] = frozenset()

    @classmethod
    def of(cls, subject: str | None, image_ids: Iterable[str] = ()) -> Target:
        """What was asked for.

        Raises:
            ErasureError: nothing was, or it names no folder of a person and no image.
        """
        wanted = frozenset(image_ids)
        if not subject and not wanted:
            raise ErasureError("Nothing is named: give --subject ID or --image-id ID.")
        if subject is not None and (not subject or "/" in subject or subject in {".", ".."}):
            raise ErasureError(
                f"{subject!r} is no subject: give the name of a folder in {PHOTOS}/."
            )
        wrong = [found for found in wanted if len(found) != 64 or not _is_hex(found)]
        if wrong:
            raise ErasureError(f"{wrong[0]!r} is no image id: give the 64 digits of a sha256.")
        return cls(subject, wanted)

    @property
    def prefix(self) -> str | None:
        """How the paths of the person's files begin, relative to the input."""
        return None if self.subject is None else f"{PHOTOS}/{self.subject}/"

    def rows(self, table: pa.Table | pa.RecordBatch) -> pa.Array:
        """Which rows are meant, by path and, where there is such a column, by image id."""
        found = pc.is_in(table["path"], pa.array(sorted(self.paths), pa.string()))
        if self.prefix is not None:
            found = pc.or_(found, pc.starts_with(table["path"], self.prefix))
        if "image_id" in table.schema.names and self.image_ids:
            found = pc.or_(found, pc.is_in(table["image_id"], pa.array(sorted(self.image_ids))))
        return found


@dataclass(frozen=True)
class Found:
    """What there is of a target."""

    inputs: list[str]
    """Paths of files under the input, relative to it."""
    image_ids: frozenset[str]
    """Of their pictures, as far as a table tells."""
    rows: dict[str, int]
    """How many rows of each table's kept versions are theirs."""
    earlier: int
    """How many earlier versions of the person's files a bucket keeps, of deleted ones too."""

    @property
    def nothing(self) -> bool:
        """Whether there is no trace at all."""
        return not (self.inputs or self.earlier or any(self.rows.values()))


def require_same_input(versions: Storage, source: Location) -> None:
    """Refuse to erase where the pictures' files would stay.

    Raises:
        ErasureError: the tables were made from another input than this.
    """
    raw = versions.find("raw_images")
    made_from = raw.facts.get("input", source.uri) if raw else source.uri
    if made_from.rstrip("/") != source.uri.rstrip("/"):
        raise ErasureError(
            f"The pictures under {versions.root} came from {made_from}, but the input is "
            f"{source.uri}: their files would stay. Set FRUITS_INPUT to where they are; if they "
            "were moved, materialize raw_images from there first."
        )


def find(versions: Storage, source: Location, target: Target) -> Found:
    """Look a target up in the tables and in the input; nothing is changed.

    Raises:
        ErasureError: the tables were made from another input than this.
    """
    require_same_input(versions, source)
    rows: dict[str, int] = {}
    paths, ids = set(target.paths), set()
    for asset in (*SOURCES, "mobilenet_features", "pca_components"):
        rows[asset] = 0
        for version in versions.kept(asset):
            theirs = _theirs(version, target)
            rows[asset] += len(theirs)
            paths |= set(theirs["path"])
            ids |= set(theirs.get("image_id", ()))
    earlier = 0
    if target.prefix is not None:
        folder = source / target.prefix.rstrip("/")
        start = len(source.path) + 1
        paths |= {file.path[start:] for file in folder.files()}
        earlier = len(object_versions.leftovers(folder))
    return Found(sorted(paths), frozenset(ids), rows, earlier)


def remove_inputs(source: Location, paths: Iterable[str], subject_prefix: str | None) -> int:
    """Delete files under the input, in S3 with every version of them; return how many."""
    removed = 0
    for path in paths:
        removed += object_versions.delete(source / path)
    if subject_prefix is not None:
        folder = source / subject_prefix.rstrip("/")
        removed += object_versions.delete_all(folder)
        folder.delete_folder()
    return removed


def remove_rows(spark: SparkSession, versions: Storage, asset: str, target: Target) -> int:
    """Rewrite the files of a source table that hold rows of the target; return how many rows.

    A file is replaced whole, so that a second call completes what was interrupted. The version
    before the current one is deleted.
    """
    version = versions.find(asset)
    if version is None:
        return 0
    files = [file for file in data_files(version.location) if _holds(file, target)]
    removed = sum(in_tasks(spark, files, _rewriter(target)))
    rows = read_table(spark, version.location)
    facts = version.facts | table_facts(rows)
    facts["input_files"] -= version.rows - facts["rows"]
    if removed and "digest" in facts:
        facts["digest"] = joint_digest(facts["digest"], f"without {removed}")
    versions.amend(version, facts)
    return removed


def needles(versions: Storage, target: Target, ids: Iterable[str]) -> list[bytes]:
    """What must not be found anywhere any more.

    The id of a picture that somebody else supplied too stays in that person's rows.
    """
    raw = versions.find("raw_images")
    others = set(key_columns(data_files(raw.location), ["image_id"])["image_id"]) if raw else set()
    texts = sorted({*ids} - others) + sorted(target.paths)
    texts += [target.prefix] if target.prefix is not None else []
    return [text.encode() for text in texts]


@dataclass(frozen=True)
class Scan:
    """A look into every file under some folders."""

    files: int
    bytes: int
    hits: list[str]
    """Files that still hold something of the target."""


def scan(folders: Iterable[Location], sought: list[bytes], skip: Location) -> Scan:
    """Look for the needles in every file, its name included; `skip` is the request itself."""
    files, size, hits = 0, 0, []
    for folder in folders:
        for info in folder.files():
            file = Location(folder.scheme, info.path)
            if file == skip:
                continue
            files, size = files + 1, size + info.size
            if any(needle in text for text in _texts(file) for needle in sought):
                hits.append(str(file))
        hits += object_versions.leftovers(folder)
    return Scan(files, size, hits)


def _texts(file: Location) -> Iterator[bytes]:
    """What a file says: its name, and its content (of Parquet the columns of text)."""
    yield file.path.encode()
    if not file.path.endswith(".parquet"):
        yield file.read()
        return
    with opened(file) as parquet:
        texts = [field.name for field in parquet.schema_arrow if field.type == pa.string()]
        for batch in parquet.iter_batches(columns=texts):
            for column in batch.columns:
                yield b"\n".join(value.encode() for value in column.unique().to_pylist() if value)


def _theirs(version: Version, target: Target) -> Any:
    ids = [] if version.asset == "rejected_images" else ["image_id"]
    table = key_columns(data_files(version.location), ["path", *ids])
    texts = pa.schema([(name, pa.string()) for name in ("path", *ids)])  # also of an empty table
    mask = target.rows(pa.Table.from_pandas(table, schema=texts, preserve_index=False))
    return table[mask.to_numpy(zero_copy_only=False)]


def _holds(file: Location, target: Target) -> bool:
    with opened(file) as parquet:
        names = [name for name in ("path", "image_id") if name in parquet.schema_arrow.names]
        return bool(pc.any(target.rows(parquet.read(columns=names))).as_py())


def _rewriter(target: Target) -> Callable[[Iterable[Location]], Iterator[int]]:
    def rewrite(files: Iterable[Location]) -> Iterator[int]:
        for file in files:
            yield _rewrite(file, target)

    return rewrite


def _rewrite(file: Location, target: Target) -> int:
    fresh = file.parent / f".erasing-{file.name}"
    removed = 0
    with (
        opened(file) as parquet,
        pq.ParquetWriter(fresh.path, parquet.schema_arrow, filesystem=fresh.filesystem) as writer,
    ):
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group)
            theirs = target.rows(table)
            removed += pc.sum(theirs).as_py() or 0
            writer.write_table(table.filter(pc.invert(theirs)), IMAGES_PER_TASK // 2)
    checksum = file.parent / f".{file.name}.crc"
    if checksum.exists():  # Hadoop's own, of what the file was
        checksum.filesystem.delete_file(checksum.path)
    file.filesystem.move(fresh.path, file.path)
    return removed


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")
