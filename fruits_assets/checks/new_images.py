"""The check that warns when new pictures are unlike those that PCA was fitted on (drift)."""

import dagster as dg
import pyarrow as pa

from fruits_assets.checks.grouping import CheckContext, asset_check
from fruits_assets.metadata import escape_markdown, rows_table
from spark_src.errors import UnreadableVersionError
from spark_src.images.layout import may_be_personal
from spark_src.pca.drift import MAX_SHIFT_DEVIATIONS
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import open_parquet
from spark_src.tables.registry import MOBILENET_FEATURES, PCA_COMPONENTS, PCA_MODEL
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics

HIDDEN = "a person's photo"


@asset_check(PCA_COMPONENTS)
def new_images_are_familiar(context: CheckContext) -> dg.AssetCheckResult:
    """The newest pictures resemble those that PCA was fitted on.

    Otherwise it warns and lists the most unusual ones: damaged pictures, or new kinds of fruit.
    """
    known = context.tables.current(PCA_MODEL).typed(PcaModelStatistics)
    drift = known.drift
    if drift is None:
        return dg.AssetCheckResult(passed=True, description=known.drift_note)
    text = (
        f"{drift.beyond:,} of {drift.compared:,} new images have a larger residual than 99 % of "
        f"the old ones; their mean is {drift.shift:.2f} standard deviations away "
        f"(at most {MAX_SHIFT_DEVIATIONS:g})"
    )
    worst = _worst(context.tables, drift, context.storage.show_photos)
    if not drift.familiar and worst:
        path = escape_markdown(worst[0][0])
        text += f". Look at the worst, {path}; if such images are wanted, refit PCA"
    return dg.AssetCheckResult(
        passed=drift.familiar,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "new images": drift.new_images,
            "new images compared": drift.compared,
            "new images beyond the 99th percentile": drift.beyond,
            "median residual ratio": round(drift.residual, 3),
            "shift of the mean in standard deviations": round(drift.shift, 3),
            "most unusual images": _table(worst),
        },
    )


def _worst(tables: Tables, drift: DriftStatistics, show_photos: bool) -> list[tuple[str, float]]:
    """Paths and residual ratios of the most unusual images that are still stored."""
    folder, found = tables.prefix(MOBILENET_FEATURES), []
    for name, row, ratio in drift.worst:
        try:
            with open_parquet(folder / name) as parquet:
                rows: pa.Table = parquet.read(columns=["path", "split"])
        except UnreadableVersionError:
            continue  # a later version no longer has that file
        path, split = (rows[column][row].as_py() for column in ("path", "split"))
        shown = show_photos or not may_be_personal(path, split)
        found.append((path if shown else HIDDEN, ratio))
    return found


def _table(worst: list[tuple[str, float]]) -> dg.TableMetadataValue:
    rows: list[dict[str, str | float]] = [
        {"path": path, "residual ratio": round(ratio, 2)} for path, ratio in worst
    ]
    return rows_table(rows, {"path": "string", "residual ratio": "float"})
