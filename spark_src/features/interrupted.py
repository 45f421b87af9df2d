"""Finds features that interrupted runs computed but did not commit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, TableWrite
from spark_src.tables.parquet import READING_THREADS, open_parquet

STAGED = "_staged"
"""Subfolder of the table for features of single pictures, until complete files contain them.
Readers and `vacuum` ignore folders whose names start with an underscore."""


def find_uncommitted(
    write: TableWrite, missing: dict[str, DataFile], suffix: str
) -> tuple[tuple[DataFile, ...], tuple[Location, ...]]:
    """Complete files that are in no version, and files with features of single pictures."""
    committed = {file.name for file in write.before.files} if write.before else set()
    wanted = {f"{stem}.{suffix}.parquet": file.rows for stem, file in missing.items()}
    sizes = {write.folder.relative(info.path): info.size for info in write.folder.files()}
    whole = [name for name in sizes if name in wanted and name not in committed]
    parts = [name for name in sizes if name.startswith(f"{STAGED}/{suffix}/part-")]
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        rows = dict(
            zip(
                [*whole, *parts],
                pool.map(_count_rows, [write.folder / name for name in (*whole, *parts)]),
                strict=True,
            )
        )
    adopted = (
        DataFile(name, sizes[name], wanted[name]) for name in whole if rows[name] == wanted[name]
    )
    return tuple(adopted), tuple(write.folder / name for name in parts if rows[name])


def _count_rows(location: Location) -> int | None:
    """The number of rows in a file of an interrupted run; None if it is incomplete."""
    try:
        with open_parquet(location) as parquet:
            return int(parquet.metadata.num_rows)
    except UnreadableVersionError:
        return None
