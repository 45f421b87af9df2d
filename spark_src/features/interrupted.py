"""Features that interrupted runs have computed and not committed. What is missing: see `plan`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, TableWrite
from spark_src.tables.parquet import READING_THREADS, open_parquet

STAGED = "_staged"
"""Under the table's folder: features of single pictures, until the files that need them are there.
Neither readers nor `vacuum` look into folders of such names."""


def left_behind(
    write: TableWrite, missing: dict[str, DataFile], suffix: str
) -> tuple[tuple[DataFile, ...], tuple[Location, ...]]:
    """Whole files that are in no version, and those of single pictures."""
    committed = {file.name for file in write.before.files} if write.before else set()
    wanted = {f"{stem}.{suffix}.parquet": file.rows for stem, file in missing.items()}
    sizes = {write.folder.relative(info.path): info.size for info in write.folder.files()}
    whole = [name for name in sizes if name in wanted and name not in committed]
    parts = [name for name in sizes if name.startswith(f"{STAGED}/{suffix}/part-")]
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        rows = dict(
            zip(
                [*whole, *parts],
                pool.map(_rows_of, [write.folder / name for name in (*whole, *parts)]),
                strict=True,
            )
        )
    adopted = (
        DataFile(name, sizes[name], wanted[name]) for name in whole if rows[name] == wanted[name]
    )
    return tuple(adopted), tuple(write.folder / name for name in parts if rows[name])


def _rows_of(location: Location) -> int | None:
    """How many rows a file that was left behind has; None where it is not whole."""
    try:
        with open_parquet(location) as parquet:
            return int(parquet.metadata.num_rows)
    except UnreadableVersionError:
        return None
