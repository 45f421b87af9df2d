"""Checks of files: each page of a table is compared with the checksum it was written with."""

import dagster as dg
import pyarrow as pa

from fruits_assets.resources import AssetStorage
from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.parquet import open_parquet


def _files_are_whole(asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name="files_are_whole")
    def files_are_whole(storage: AssetStorage) -> dg.AssetCheckResult:
        """Every file of the current version is what was written: no page's checksum is wrong."""
        files = storage.tables.current(asset).locations
        damaged = [str(file) for file in files if not _is_whole(file)]
        return dg.AssetCheckResult(
            passed=not damaged,
            description=f"damaged: {', '.join(damaged)}. Materialize {asset} again."
            if damaged
            else f"{len(files):,} files, every page as it was written",
            metadata={"files": len(files), "damaged files": len(damaged)},
        )

    return files_are_whole


def _is_whole(file: Location) -> bool:
    try:
        with open_parquet(file, verify=True) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group)
    except (UnreadableVersionError, pa.ArrowException):
        return False
    return True


FILE_CHECKS = [
    _files_are_whole(asset) for asset in ("raw_images", "mobilenet_features", "pca_components")
]
