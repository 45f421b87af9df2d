"""What the benchmarks share: Spark, real pictures in storage, tables. No measuring here."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from fruits_assets.settings import IMAGENET_WEIGHTS, PROJECT
from spark_src.features import incremental
from spark_src.features.model import MobilenetModel, convert
from spark_src.images.ingest import accepted, inspect, list_source
from spark_src.images.validate import Limits
from spark_src.io.locations import Location
from spark_src.spark.session import local_config, use_bundled_java, write_table
from spark_src.storage import Storage, Version

SAMPLE = PROJECT / "sample" / "fruits-360"


def start_spark() -> SparkSession:
    """Spark as the assets use it on one machine."""
    use_bundled_java()
    builder = SparkSession.builder
    for name, value in local_config().items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def default_model() -> MobilenetModel:
    """The project's own weights, converted."""
    return convert(Location.parse(str(IMAGENET_WEIGHTS)))


def picture_files(folder: str | None) -> list[Path]:
    """Every JPEG under the folder (the sample by default), sorted."""
    root = Path(folder) if folder else SAMPLE
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})


def stored_pictures(
    spark: SparkSession, files: Sequence[Path], count: int, folder: Path
) -> Version:
    """Ingest `count` pictures (the files, over again where there are fewer) into storage."""
    source = folder / "input"
    source.mkdir(parents=True)
    for number, file in enumerate(itertools.islice(itertools.cycle(files), count)):
        (source / f"{number:06}.jpg").symlink_to(file.resolve())
    storage = Storage(Location.parse(str(folder / "storage")))
    draft = storage.begin("raw_images", "benchmark")
    images = accepted(inspect(spark, list_source(Location.parse(str(source))), Limits()))
    # The same file over again counts as another picture: each picture is featurized once.
    images = images.withColumn("image_id", F.concat_ws(" ", "image_id", "path"))
    write_table(images, "raw_images", draft.location)
    return storage.publish(draft, {"rows": count})


def make_features(
    spark: SparkSession, images: Version, model: MobilenetModel, folder: Path
) -> None:
    """What the asset does: plan, featurize, write a version."""
    storage = Storage(Location.parse(str(folder)))
    plan = incremental.plan(storage, images, model.sha256)
    incremental.make(spark, plan, model, storage.begin("mobilenet_features", "benchmark").location)


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
