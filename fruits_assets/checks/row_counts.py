"""Checks that no picture was lost: rows counted in storage, asset by asset."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from fruits_assets.catalog import CATALOG
from fruits_assets.checks.grouping import Check, CheckContext, asset_check
from spark_src.io.locations import Location
from spark_src.tables import csv
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.parquet import READING_THREADS, open_parquet
from spark_src.tables.registry import CSV_EXPORT, RAW_IMAGES, REJECTED_IMAGES
from spark_src.tables.statistics import RawImagesStatistics


def _no_image_lost(asset: str, count: Callable[[Tables], dict[str, int]], equal: str) -> Check:
    description = f"No picture was lost: {equal}, counted in the stored files."

    @asset_check(asset, name="no_image_lost", blocking=True, description=description)
    def no_image_lost(context: CheckContext) -> dg.AssetCheckResult:
        counts = count(context.tables)
        expected, *found = counts.values()
        passed = expected == sum(found)
        text = " + ".join(f"{n:,} {name}" for name, n in list(counts.items())[1:])
        sign = "=" if passed else "is not"
        return dg.AssetCheckResult(
            passed=passed,
            description=f"{text} {sign} {expected:,} {next(iter(counts))}",
            metadata=dict(counts),
        )

    return no_image_lost


def _ingested(tables: Tables) -> dict[str, int]:
    raw, rejected = tables.current(RAW_IMAGES), tables.current(REJECTED_IMAGES)
    known = raw.typed(RawImagesStatistics)
    counts = {
        "files under the input": known.n_listed,
        RAW_IMAGES: _stored_rows(raw),
        REJECTED_IMAGES: _stored_rows(rejected),
    }
    ignored = sum(known.ignored.values())
    return counts | ({"ignored": ignored} if ignored else {})


def _rows_equal(source: str, target: str) -> Check:
    def count(tables: Tables) -> dict[str, int]:
        return {name: _stored_rows(tables.current(name)) for name in (source, target)}

    return _no_image_lost(target, count, f"rows of {target} = rows of {source}")


def _stored_rows(snapshot: Snapshot) -> int:
    """Rows counted in storage, not taken from the statistics of the commit."""
    if snapshot.asset == CSV_EXPORT:
        return csv.count_rows(snapshot.location / csv.FILE)
    with ThreadPoolExecutor(READING_THREADS, "reader") as pool:
        return sum(pool.map(_rows_of, snapshot.locations))


def _rows_of(file: Location) -> int:
    with open_parquet(file) as parquet:
        return int(parquet.metadata.num_rows)


ROW_COUNT_CHECKS = [
    _no_image_lost(
        RAW_IMAGES, _ingested, "raw_images + rejected_images + ignored = files under the input"
    ),
    *(_rows_equal(asset.rows_equal, asset.name) for asset in CATALOG.values() if asset.rows_equal),
]
