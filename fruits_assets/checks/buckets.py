"""The check of the buckets: region, public access and encryption."""

from collections.abc import Sequence

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check
from fruits_assets.metadata import rows_table
from spark_src.io.aws import configured_region
from spark_src.io.residency import Finding
from spark_src.tables.registry import RAW_IMAGES


@asset_check(RAW_IMAGES)
def data_stays_in_eu(context: CheckContext) -> dg.AssetCheckResult:
    """All data is in the configured EU region, not publicly accessible, and encrypted."""
    findings = context.residency.findings()
    if not findings:
        return dg.AssetCheckResult(passed=True, description="all data is on this machine")
    faults = [fault for finding in findings for fault in finding.faults]
    names = ", ".join(f"s3://{finding.bucket}" for finding in findings)
    return dg.AssetCheckResult(
        passed=not faults,
        description=" ".join(faults)
        or f"{names}: in {configured_region()}, public access blocked, encrypted by default",
        metadata={"buckets": _buckets_table(findings)},
    )


def _buckets_table(findings: Sequence[Finding]) -> dg.TableMetadataValue:
    rows = [
        {
            "bucket": finding.bucket,
            "region": finding.region,
            "public access": "blocked" if finding.public_access_blocked else "NOT BLOCKED",
            "default encryption": finding.encryption or "NONE",
        }
        for finding in findings
    ]
    columns = ("bucket", "region", "public access", "default encryption")
    return rows_table(rows, dict.fromkeys(columns, "string"))
