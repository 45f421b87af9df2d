"""From a folder of files to a table of clean pictures and a ledger of what was rejected."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark import Accumulator, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from spark_src.errors import InputError
from spark_src.images.validate import Limits, PictureRejected, Reason, clean_picture
from spark_src.io.locations import Location
from spark_src.spark.session import allow_colons, pictures_session
from spark_src.tables.schemas import RAW_IMAGES, REJECTED_IMAGES

ARROW_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("content", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("orientation", pa.int32()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""One row a file: either the picture's columns are filled, or reason and detail."""

_INSPECTED = StructType([*RAW_IMAGES.fields, *REJECTED_IMAGES.fields[1:]])


@dataclass(frozen=True)
class Source:
    """What lies under the input, listed before Spark starts."""

    root: Location
    sizes: dict[str, int]
    """Path relative to the root -> bytes, for every file, those that Spark would skip too."""

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self.sizes)

    @property
    def bytes(self) -> int:
        """How much they hold together."""
        return sum(self.sizes.values())

    @property
    def largest(self) -> int:
        """Bytes of the largest file."""
        return max(self.sizes.values())


def list_source(root: Location) -> Source:
    """List every file under the input.

    Raises:
        InputError: the folder is missing, is a file, or holds no file.
    """
    if not root.exists():
        raise InputError(
            f"The input {root} does not exist. Set FRUITS_INPUT to a folder of pictures."
        )
    if not root.is_folder():
        raise InputError(f"The input {root} is a file. Set FRUITS_INPUT to a folder of pictures.")
    found = root.files()
    if not found:
        raise InputError(
            f"The input {root} holds no file. Set FRUITS_INPUT to a folder of JPEG or PNG pictures."
        )
    start = len(root.path.rstrip("/")) + 1
    return Source(root, {file.path[start:]: file.size for file in found})


def inspect(
    spark: SparkSession, source: Source, limits: Limits, done: Accumulator[int] | None = None
) -> DataFrame:
    """Decode every file once, in Python workers; a row a file, see `ARROW_SCHEMA`.

    The result is kept on disk because both tables are taken from it: unpersist it afterwards.
    """
    if source.root.scheme == "file" and any(":" in path for path in source.sizes):
        allow_colons(spark)
    own = pictures_session(spark, min(source.largest, limits.max_bytes))
    files = (
        own.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .option("__globPaths__", "false")
        .load(source.root.hadoop)
        .where(F.col("length") <= limits.max_bytes)  # pushed down: what is larger is never read
        .select("path", "length", "content")
    )
    inspected = files.mapInArrow(_inspector(source.root, limits, done), _INSPECTED)
    refused = _refused(spark, source, limits)
    return inspected.unionByName(refused).persist(StorageLevel.DISK_ONLY)


def content_digest(images: DataFrame) -> str:
    """Changes when a picture comes, goes, changes or moves; the order of rows is no matter."""
    row_hash = F.xxhash64("path", "image_id", "orientation").cast("decimal(38,0)")
    total = images.agg(F.sum(row_hash)).first()
    return str(total[0]) if total is not None else "0"


def accepted(inspected: DataFrame) -> DataFrame:
    """The pictures, with the columns of `raw_images`."""
    return inspected.where(F.col("reason").isNull()).select(RAW_IMAGES.fieldNames())


def rejected(inspected: DataFrame) -> DataFrame:
    """The ledger, with the columns of `rejected_images`, in one file sorted by path."""
    ledger = inspected.where(F.col("reason").isNotNull()).select(REJECTED_IMAGES.fieldNames())
    return ledger.coalesce(1).sortWithinPartitions("path")


def require_few_rejections(rejected_files: int, source: Source, max_share: float) -> None:
    """Stop a run whose input is mostly not pictures.

    Raises:
        InputError: the share of rejected files is greater than `max_share`, or no picture is left.
    """
    share = rejected_files / source.files
    if share <= max_share and rejected_files < source.files:
        return
    raise InputError(
        f"{rejected_files:,} of {source.files:,} files under {source.root} were rejected "
        f"({share:.1%}); at most {max_share:.1%} may be. The table rejected_images says why for "
        "each. Mend the input, or raise max_rejected_share in the run's config."
    )


def split_and_label(path: str) -> tuple[str | None, str | None]:
    """`Training/Apple/1.jpg` is split Training, label Apple; `Apple/1.jpg` has no split."""
    folders = path.split("/")[:-1]
    split = folders[0] if len(folders) > 1 else None
    return split, folders[-1] if folders else None


def _hidden_from_spark(path: str) -> bool:
    """Spark's own rule: org.apache.spark.util.HadoopFSUtils.shouldFilterOutPathName."""
    *folders, file = path.split("/")
    let_through = ("_metadata", "_common_metadata")  # folders only
    for name in (*(folder for folder in folders if not folder.startswith(let_through)), file):
        underscored = name.startswith("_") and "=" not in name
        if underscored or name.startswith(".") or name.endswith("._COPYING_"):
            return True
    return False


def _refused(spark: SparkSession, source: Source, limits: Limits) -> DataFrame:
    """Rows of the files that are never opened."""
    rows = [
        {"path": path, "bytes": size, "reason": refusal[0].value, "detail": refusal[1]}
        for path, size in source.sizes.items()
        if (refusal := _refusal(path, size, limits))
    ]
    return spark.createDataFrame(rows, _INSPECTED)


def _refusal(path: str, size: int, limits: Limits) -> tuple[Reason, str] | None:
    if _hidden_from_spark(path):
        return (
            Reason.HIDDEN_NAME,
            "Spark skips names that begin with _ or . (or end with ._COPYING_): rename it",
        )
    if not size:
        return Reason.EMPTY_FILE, "The file has no bytes; supply it again."
    if size > limits.max_bytes:
        return Reason.TOO_MANY_BYTES, f"{size:,} bytes; at most {limits.max_bytes:,} are read"
    return None


def _inspector(
    root: Location, limits: Limits, done: Accumulator[int] | None
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    slashes = "" if root.scheme == "file" else "//"  # as Hadoop prints its paths
    prefix = f"{root.scheme}:{slashes}{root.path.rstrip('/')}/"

    def inspect_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            names = batch.column("path").to_pylist()
            contents = batch.column("content")
            rows = [
                row_of_file(name.removeprefix(prefix), contents[index].as_py(), limits)
                for index, name in enumerate(names)
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=ARROW_SCHEMA)
            if done is not None:
                done.add(len(rows))

    return inspect_batches


def row_of_file(path: str, data: bytes, limits: Limits) -> dict[str, Any]:
    """One file's row of `ARROW_SCHEMA`: the work that a worker does for each."""
    row: dict[str, Any] = {"path": path, "bytes": len(data)}
    try:
        picture = clean_picture(data, limits)
    except PictureRejected as rejection:
        return row | {"reason": rejection.reason.value, "detail": rejection.detail}
    split, label = split_and_label(path)
    return row | {
        "image_id": hashlib.sha256(picture.content).hexdigest(),
        "split": split,
        "label": label,
        "content": picture.content,
        "width": picture.width,
        "height": picture.height,
        "orientation": picture.orientation,
    }
