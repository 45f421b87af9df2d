"""A version of the features that computes only what no earlier one has. No Dagster here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession

from spark_src import feature_parts
from spark_src.assemble import places_of, write_files
from spark_src.errors import StorageError
from spark_src.feature_parts import KEY
from spark_src.features.inference import featurizer
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import PIXELS
from spark_src.io.locations import Location
from spark_src.spark.session import IMAGES_PER_TASK, read_pictures
from spark_src.storage import Storage, Version
from spark_src.tables.vector_files import data_files, key_columns

ASSET = "mobilenet_features"

INDEX = "_index.parquet"
"""Beside a version's files, hidden from who reads the table: what each row was made of."""

INDEXED = ("path", "split", *KEY)


@dataclass(frozen=True)
class Plan:
    """Which images there are, and where the features of those that have some lie."""

    images: Version
    model_sha256: str
    parts: Location
    """Where tasks leave what they have finished."""
    located: pd.DataFrame
    """A row an image, sorted by path: its keys, and `file`, `row`, `origin` of its features."""
    why: str
    """Why the features that are there are, or are not, of use."""

    @property
    def missing(self) -> list[str]:
        """A path for each different picture that has to be featurized."""
        rows = self.located[self.located["file"].isna()]
        return list(rows.drop_duplicates(list(KEY))["path"])

    @property
    def facts(self) -> dict[str, int]:
        """What the version says of how it was made."""
        origins = self.located["origin"].value_counts()
        return {
            "featurized": len(self.missing),
            "carried_over": int(origins.get("current", 0)),
            "resumed": int(origins.get("parts", 0)),
        }

    def forget_parts(self) -> None:
        """Delete what interrupted runs left, of every recipe: a version is made of it."""
        self.parts.parent.delete_folder()

    def __str__(self) -> str:
        facts = self.facts
        return (
            f"{len(self.located):,} images: {facts['featurized']:,} different pictures to "
            f"featurize, {facts['carried_over']:,} carried over, {facts['resumed']:,} done by an "
            f"interrupted run. {self.why}"
        )


def plan(versions: Storage, images: Version, model_sha256: str, recompute: bool = False) -> Plan:
    """Compare the images with the features that are there.

    Args:
        versions: the storage, for the current features and for parts of interrupted runs.
        images: the version of `raw_images` to featurize.
        model_sha256: features of another model, or of other pixels, are of no use.
        recompute: use none of what is there.
    """
    recipe = feature_parts.recipe(model_sha256, PIXELS)
    parts = versions.prefix(ASSET) / feature_parts.FOLDER / recipe
    known, why = [], "All are computed anew, as asked for."
    if not recompute:
        current, why = _of_use(versions, model_sha256)
        known = [index_of(current)] if current else []
        known.append(feature_parts.index(parts).assign(origin="parts"))
    keys = key_columns(data_files(images.location), ("path", *KEY, "split", "label"))
    rows = keys.drop(columns=["file", "row"]).sort_values("path", ignore_index=True)
    return Plan(images, model_sha256, parts, _located(rows, known), why)


def make(
    spark: SparkSession,
    work: Plan,
    model: MobilenetModel,
    folder: Location,
    done: Accumulator[int] | None = None,
) -> None:
    """Featurize what is missing, then write the whole table and its index into the folder.

    Args:
        spark: shares out both.
        work: see `plan`.
        model: of the digest that was planned with.
        folder: of the version that is being made; it is there, and empty.
        done: counts pictures as tasks finish.

    Raises:
        StorageError: pictures are gone that were there when the work was planned.
    """
    located = work.located
    if work.missing:
        _featurize(spark, work, model, done)
        rows = located.drop(columns=["file", "row", "origin"])
        fresh = feature_parts.index(work.parts).assign(origin="parts")
        known = located.dropna(subset="file")[[*KEY, "file", "row", "origin"]]
        located = _located(rows, [known, fresh])
    lost = located["file"].isna().sum()
    if lost:
        raise StorageError(
            f"{lost:,} images of {work.images.location} were not featurized: another run has "
            "replaced that version. Materialize mobilenet_features again."
        )
    write_files(spark, located, work.model_sha256, folder)
    _write_index(located, folder)


def index_of(version: Version) -> pd.DataFrame:
    """What made each row of a version of the features, and its place: `INDEXED`, file, row."""
    file = version.location / INDEX
    table = pq.read_table(file.path, filesystem=file.filesystem).to_pandas()
    table["file"] = version.location.path + "/" + table["file"]
    return table.assign(origin="current")


def _of_use(versions: Storage, model_sha256: str) -> tuple[Version | None, str]:
    """The current features where they can be carried over, and why or why not."""
    current = versions.find(ASSET)
    if current is None:
        return None, "There are no earlier features."
    if current.facts.get("model") != model_sha256:
        return None, f"Version {current.name} was made by another model: nothing of it is used."
    if current.facts.get("pixels") != PIXELS:
        return None, f"Version {current.name} saw other pixels: nothing of it is used."
    if not (current.location / INDEX).exists():
        return None, f"Version {current.name} has no index: nothing of it is used."
    return current, f"What is known is in version {current.name}."


def _located(rows: pd.DataFrame, known: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows in their order, each with the first place that is known of its features."""
    columns = [*KEY, "file", "row", "origin"]
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    places = pd.concat([empty, *(table[columns] for table in known)])
    return rows.merge(places.drop_duplicates(list(KEY)), on=list(KEY), how="left")


def _featurize(
    spark: SparkSession, work: Plan, model: MobilenetModel, done: Accumulator[int] | None
) -> None:
    """Leave the features of what is missing in parts, one a task."""
    work.parts.make_folder()
    shared = spark.sparkContext.broadcast(model.content)
    featurize, parts = featurizer(shared, model.sha256, done), work.parts

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in feature_parts.save(featurize(batches), parts):
            yield pa.RecordBatch.from_pydict({"rows": [rows]})

    _missing_pictures(spark, work).mapInArrow(save, "rows long").collect()


def _missing_pictures(spark: SparkSession, work: Plan) -> DataFrame:
    pictures = read_pictures(spark, work.images)
    missing = work.missing
    if len(missing) < work.images.rows:
        wanted = pictures.sparkSession.createDataFrame([(path,) for path in missing], "path string")
        tasks = max(1, -(-len(missing) // IMAGES_PER_TASK), spark.sparkContext.defaultParallelism)
        pictures = pictures.join(wanted.hint("broadcast"), "path", "left_semi").coalesce(tasks)
    return pictures.select("path", "image_id", "content", "orientation")


def _write_index(located: pd.DataFrame, folder: Location) -> None:
    name, place = places_of(len(located))
    index = located[list(INDEXED)].assign(file=name, row=place)
    file = folder / INDEX
    table = pa.Table.from_pandas(index, preserve_index=False)
    pq.write_table(table, file.path, filesystem=file.filesystem)
