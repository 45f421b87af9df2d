"""Integrity checks of files: each Parquet page is compared with its checksum."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pyarrow as pa

from fruits_assets.catalog import CATALOG
from fruits_assets.checks.grouping import Check, CheckContext, asset_check
from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import DataFile, Snapshot
from spark_src.tables.parquet import open_parquet
from spark_src.text import counted

CHECK_JOB_NAME = "asset_checks"
"""The job that runs all checks and reads every file. After a materialization, only new files
are read."""

READING_THREADS = 2


def _files_are_whole(asset: str) -> Check:
    @asset_check(asset, name="files_are_whole")
    def files_are_whole(context: CheckContext) -> dg.AssetCheckResult:
        """No stored file is damaged: every page matches its checksum.

        After a materialization it reads the files that the run added; `fruits check` reads all.
        """
        snapshot = context.tables.current(asset)
        run = context.run
        files = snapshot.files if run.job_name == CHECK_JOB_NAME else _added(snapshot, run.run_id)
        damaged = _damaged(snapshot, files)
        return dg.AssetCheckResult(
            passed=not damaged,
            description=f"damaged: {', '.join(damaged)}. Restore them, or delete the folder "
            f"{snapshot.location} and materialize {asset} again."
            if damaged
            else f"{len(files):,} of {counted(len(snapshot.files), 'file')} read, every page "
            "matches its checksum",
            metadata={"files": len(files), "damaged files": len(damaged)},
        )

    return files_are_whole


def _added(snapshot: Snapshot, run_id: str) -> tuple[DataFile, ...]:
    """Files that the run added to the current version."""
    return snapshot.added if snapshot.record.run_id == run_id else ()


def _damaged(snapshot: Snapshot, files: Iterable[DataFile]) -> list[str]:
    def verdict(file: DataFile) -> tuple[str, bool]:
        location = snapshot.file_location(file)
        return str(location), _is_whole(location, file.rows)

    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        return [name for name, whole in pool.map(verdict, files) if not whole]


def _is_whole(file: Location, rows: int) -> bool:
    try:
        with open_parquet(file, verify=True) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group, use_threads=False)
            return bool(parquet.metadata.num_rows == rows)
    except (UnreadableVersionError, pa.ArrowException):
        return False


FILE_CHECKS = [_files_are_whole(asset.name) for asset in CATALOG.values() if asset.pages_checked]
