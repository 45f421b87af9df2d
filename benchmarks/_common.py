"""Helpers of the benchmarks: Spark, stored pictures and tables."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from fruits_assets.settings import IMAGENET_WEIGHTS, PROJECT
from spark_src.features.incremental import audit, compute, statistics
from spark_src.features.model import MobilenetModel, convert
from spark_src.features.plan import FeaturesPlan, plan_features
from spark_src.images.listing import list_files
from spark_src.images.plan import plan_ingest
from spark_src.images.refresh import raw_change, read_new
from spark_src.images.rejection import Limits
from spark_src.io.locations import Location
from spark_src.spark.session import local_config, use_bundled_java
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables

SAMPLE = PROJECT / "sample" / "fruits-360"


def start_spark() -> SparkSession:
    """Start Spark with the local configuration of the assets."""
    use_bundled_java()
    builder = SparkSession.builder
    for name, value in local_config().items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def default_model() -> MobilenetModel:
    """The model converted from the bundled weights."""
    return convert(Location.parse(str(IMAGENET_WEIGHTS)))


def picture_files(folder: str | None) -> list[Path]:
    """Every JPEG under the folder (the sample by default), sorted."""
    root = Path(folder) if folder else SAMPLE
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})


def link_pictures(files: Sequence[Path], count: int, folder: Path, first: int = 0) -> None:
    """Create hard links to `count` pictures, repeating the files if there are fewer.

    Args:
        files: the files; copied if they are on another file system than the folder.
        count: number of pictures.
        folder: target folder. Names are numbers, in a hundred labels and two splits.
        first: the first number.
    """
    chosen = itertools.islice(itertools.cycle(files), first, first + count)
    for number, file in enumerate(chosen, first):
        split = "Test" if number % 4 == 0 else "Training"
        target = folder / split / f"Label {number % 100:02}" / f"{number:07}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)


def write_pictures(files: Sequence[Path], count: int, folder: Path, first: int = 0) -> None:
    """Write `count` different pictures into a folder: rotated and mirrored copies, in random order.

    A copy keeps the split and the label of its file, and its name is that of another rotation axis
    of the same fruit. Folds and near duplicates are therefore those of a real dataset.

    Args:
        files: pictures in folders `<split>/<label>`, as in Fruits-360.
        count: number of pictures. Beyond eight times the files, the JPEG quality decreases.
        folder: target folder.
        first: number of the first picture.
    """
    order = random.Random(0).sample(files, len(files))  # noqa: S311 - not for security
    turns = [None, *Image.Transpose]
    for number in range(first, first + count):
        copy_number, index = divmod(number, len(order))
        round_, turn = divmod(copy_number, len(turns))
        file = order[index]
        frame = file.name[1:] if file.name.startswith("r") else f"9_{file.name}"
        target = folder / file.parent.parent.name / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            copy = image if turns[turn] is None else image.transpose(turns[turn])
            copy.save(target / f"r{copy_number:02}{frame}", "JPEG", quality=90 - round_)


def stored_pictures(
    spark: SparkSession,
    files: Sequence[Path],
    count: int,
    folder: Path,
    limits: Limits | None = None,
) -> Snapshot:
    """Ingest `count` pictures, repeating the files if there are fewer, into storage."""
    source = folder / "input"
    link_pictures(files, count, source)
    tables = Tables(Location.parse(str(folder / "storage")))
    write = tables.begin("raw_images", "benchmark")
    plan = plan_ingest(list_files(Location.parse(str(source))), limits or Limits(), None, None)
    found = read_new(lambda: spark, plan, write, lambda: spark.sparkContext.accumulator(0))
    images = raw_change(plan, found, write, 0, time.monotonic()).commit()
    for file in images.locations:
        _make_ids_unique(Path(file.path))
    return images


def _make_ids_unique(file: Path) -> None:
    """Make ids unique, because features of repeated files would be computed only once."""
    table = pq.read_table(file)
    ids = pc.binary_join_element_wise(table["image_id"], table["path"], " ")
    table = table.set_column(0, table.schema.field(0), ids.cast(pa.string()))
    pq.write_table(table, file, row_group_size=128, compression="NONE")


def make_features(
    spark: SparkSession, images: Snapshot, model: MobilenetModel, folder: Path
) -> FeaturesPlan:
    """Plan, compute, audit and commit features, as the asset does."""
    write = Tables(Location.parse(str(folder))).begin("mobilenet_features", "benchmark")
    plan = plan_features(write, images, model.sha256)
    counter = spark.sparkContext.accumulator(0)
    new = compute(lambda: spark, plan, model, write.folder, lambda: counter)
    found = statistics(plan, audit(lambda: spark, plan, new, write))
    Change(write, found, (*plan.adopted, *new)).commit()
    return plan


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with right-aligned numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
