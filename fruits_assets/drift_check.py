"""The check that tells when the pictures that come are no longer like those PCA was fitted on."""

import dagster as dg

from fruits_assets.resources import AssetStorage
from spark_src.evaluation.drift import FAR, Drift, since_last_fit


@dg.asset_check(asset="pca_components")
def new_images_are_familiar(storage: AssetStorage) -> dg.AssetCheckResult:
    """Images that came last are like those that the PCA before them was fitted on.

    Where they are not, it warns and names the worst.
    """
    drift = since_last_fit(storage.versions)
    if isinstance(drift, str):
        return dg.AssetCheckResult(passed=True, description=drift)
    text = (
        f"{drift.beyond:,} of {drift.looked_at:,} new images have more outside the components "
        f"than 99 % of the old ones; their mean is {drift.shift:.2f} standard deviations away "
        f"(at most {FAR:g})"
    )
    if not drift.familiar:
        text += f". Look at the worst, {drift.worst[0][0]}; if such are wanted, fit PCA with them"
    return dg.AssetCheckResult(
        passed=drift.familiar,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "images that came": drift.came,
            "looked at": drift.looked_at,
            "beyond": drift.beyond,
            "median outside, times the old ones'": round(drift.residual, 3),
            "mean shift": round(drift.shift, 3),
            "worst": _worst(drift),
        },
    )


def _worst(drift: Drift) -> dg.MarkdownMetadataValue:
    rows = [f"| {path} | {ratio:.2f} |" for path, ratio in drift.worst]
    header = ["| path | outside, times the end of the old ones' |", "| --- | ---: |"]
    return dg.MetadataValue.md("\n".join(header + rows))
