"""The check of the share of files that are not usable pictures."""

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from fruits_assets.metadata import counts_table
from spark_src.tables.registry import RAW_IMAGES, REJECTED_IMAGES
from spark_src.tables.statistics import RawImagesStatistics, RejectedImagesStatistics
from spark_src.text import counted

MAX_SHARE = 0.05
"""The share of rejected files above which the check warns."""


@asset_check(REJECTED_IMAGES)
def few_files_rejected(context: CheckContext) -> dg.AssetCheckResult:
    """At most 5 % of the files in the input are rejected; otherwise it warns, with the reasons."""
    tables = context.tables
    known = tables.current(REJECTED_IMAGES).typed(RejectedImagesStatistics)
    listed = tables.current(RAW_IMAGES).typed(RawImagesStatistics).n_listed
    text = f"{known.rows:,} of {counted(listed, 'file')} rejected"
    if known.reasons:
        ordered = sorted(known.reasons.items(), key=lambda item: (-item[1], item[0]))
        text += f": {', '.join(f'{reason} {count:,}' for reason, count in ordered)}"
    passed = known.rows <= MAX_SHARE * listed
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=text if passed else f"{text}. docs/data.md explains each reason",
        metadata={"rejected files by reason": counts_table(known.reasons, "reason", "files")},
    )
