"""The check that tells when the pictures that come are no longer like those PCA was fitted on."""

import dagster as dg
import pyarrow as pa

from fruits_assets.resources import AssetStorage
from spark_src.errors import UnreadableVersionError
from spark_src.images.layout import is_photo
from spark_src.pca.drift import MAX_SHIFT_DEVIATIONS
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import open_parquet
from spark_src.tables.statistics import DriftStatistics, PcaModelStatistics

HIDDEN = "a person's photo"


@dg.asset_check(asset="pca_components")
def new_images_are_familiar(storage: AssetStorage) -> dg.AssetCheckResult:
    """Images that came last are like those that the PCA before them was fitted on.

    Where they are not, it warns and names the worst.
    """
    known = storage.tables.current("pca_model").typed(PcaModelStatistics)
    drift = known.drift
    if drift is None:
        return dg.AssetCheckResult(passed=True, description=known.drift_note)
    text = (
        f"{drift.beyond:,} of {drift.compared:,} new images have more outside the components "
        f"than 99 % of the old ones; their mean is {drift.shift:.2f} standard deviations away "
        f"(at most {MAX_SHIFT_DEVIATIONS:g})"
    )
    worst = _worst(storage.tables, drift, storage.show_photos)
    if not drift.familiar and worst:
        text += f". Look at the worst, {worst[0][0]}; if such are wanted, fit PCA with them"
    return dg.AssetCheckResult(
        passed=drift.familiar,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "images that came": drift.new_images,
            "looked at": drift.compared,
            "beyond": drift.beyond,
            "median outside, times the old ones'": round(drift.residual, 3),
            "mean shift": round(drift.shift, 3),
            "worst": _table(worst),
        },
    )


def _worst(tables: Tables, drift: DriftStatistics, show_photos: bool) -> list[tuple[str, float]]:
    """Paths and ratios of the images that are farthest outside, as far as they are still there."""
    folder = tables.prefix("mobilenet_features")
    found = []
    for name, row, ratio in drift.worst:
        try:
            with open_parquet(folder / name) as parquet:
                paths: pa.Table = parquet.read(columns=["path"])
        except UnreadableVersionError:
            continue  # a later version does not have that file any more
        path = paths["path"][row].as_py()
        found.append((HIDDEN if is_photo(path) and not show_photos else path, ratio))
    return found


def _table(worst: list[tuple[str, float]]) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({"path": path, "times the end of the old ones'": round(ratio, 2)})
        for path, ratio in worst
    ]
    columns = [
        dg.TableColumn("path", "string"),
        dg.TableColumn("times the end of the old ones'", "float"),
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))
