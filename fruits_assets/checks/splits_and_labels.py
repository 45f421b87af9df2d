"""Checks of `data_health`, based on the statistics of its commit. No picture is read."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fruits_assets.checks.grouping import CheckContext, asset_check
from fruits_assets.metadata import Row, escape_markdown, rows_table
from spark_src.evaluation import health_files
from spark_src.tables.delta import Snapshot
from spark_src.tables.registry import DATA_HEALTH
from spark_src.tables.statistics import HealthStatistics
from spark_src.text import counted

BALANCE = 10.0
"""Maximum ratio of the largest class to the smallest without a warning."""
NEAR_SHARE = 0.9
"""Maximum share of a label's images with a near duplicate under that label, without a warning."""
_MAX_PAIRS = 20
"""Maximum number of pairs that a check lists."""


_REMEDIES = {
    "split": "Move the pictures of a pair into one split: `uv run fruits path data_health`",
    "label": "Correct one label of each pair: docs/data-health.md",
}


def _pairs(snapshot: Snapshot, what: str, show: bool) -> dict[str, dg.TableMetadataValue]:
    """The worst pairs. Paths, which may identify a person, are shown only if allowed."""
    findings = health_files.read_table(snapshot, health_files.FINDINGS)
    is_crossing = pc.match_substring_regex(findings["crosses"].cast(pa.string()), rf"\b{what}\b")
    image, duplicate = ("path", "other_path") if show else ("image_id", "other_image_id")
    columns = {"image": "string", "duplicate": "string", "cosine": "float"}
    found: list[Row] = [
        {
            "image": row[image],
            "duplicate": row[duplicate],
            "cosine": round(row["cosine"], 4),
        }
        for row in findings.filter(is_crossing).slice(0, _MAX_PAIRS).to_pylist()
    ]
    return {"pairs": rows_table(found, columns)} if found else {}


def _crosses(context: CheckContext, what: str, exact_is_error: bool) -> dg.AssetCheckResult:
    snapshot = context.tables.current(DATA_HEALTH)
    known = snapshot.typed(HealthStatistics)
    exact, near = (
        known.crossing[f"{kind} duplicates in two {what}s"] for kind in ("exact", "near")
    )
    groups = known.crossing_groups.get(what, 0)
    text = (
        f"{exact:,} exact and {counted(near, 'near duplicate')} (cosine {known.threshold:g}) in "
        f"two {what}s, in {counted(groups, 'group')}"
    )
    if exact or near:
        text += f". {_REMEDIES[what]}"
    counts = {"exact": exact, "near": near, "groups": groups}
    severity = (
        dg.AssetCheckSeverity.ERROR if exact and exact_is_error else dg.AssetCheckSeverity.WARN
    )
    return dg.AssetCheckResult(
        passed=not exact and not near and not groups,
        severity=severity,
        description=text,
        metadata={**counts, **_pairs(snapshot, what, context.storage.show_photos)},
    )


@asset_check(DATA_HEALTH)
def no_picture_in_two_splits(context: CheckContext) -> dg.AssetCheckResult:
    """No picture is in two splits, which would leak test data. Near duplicates only warn."""
    return _crosses(context, "split", exact_is_error=True)


@asset_check(DATA_HEALTH)
def no_label_conflict(context: CheckContext) -> dg.AssetCheckResult:
    """No exact or near duplicates have two labels, one of which must be wrong."""
    return _crosses(context, "label", exact_is_error=False)


@asset_check(DATA_HEALTH)
def classes_are_balanced(context: CheckContext) -> dg.AssetCheckResult:
    """The largest class has at most ten times as many images as the smallest."""
    labels = context.tables.current(DATA_HEALTH).typed(HealthStatistics).labels
    if not labels:
        return dg.AssetCheckResult(passed=True, description="no image has a label")
    ordered = sorted(labels.items(), key=lambda item: (item[1], item[0]))
    (smallest, few), (largest, many) = ordered[0], ordered[-1]
    return dg.AssetCheckResult(
        passed=many <= BALANCE * few,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{counted(len(labels), 'label')}, from {counted(few, 'image')} "
        f"({escape_markdown(smallest)}) to {many:,} ({escape_markdown(largest)})",
        metadata={
            "labels": len(labels),
            "images of the smallest label": few,
            "images of the largest label": many,
        },
    )


@asset_check(DATA_HEALTH)
def labels_are_varied(context: CheckContext) -> dg.AssetCheckResult:
    """No label consists mostly (over 90 %) of near duplicates of its own images."""
    shares = context.tables.current(DATA_HEALTH).typed(HealthStatistics).near_share
    worst = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    above = [
        f"{escape_markdown(label)} {share:.0%}" for label, share in worst if share > NEAR_SHARE
    ]
    text = f"labels that consist of near duplicates: {len(above):,} of {len(shares):,}"
    return dg.AssetCheckResult(
        passed=not above,
        severity=dg.AssetCheckSeverity.WARN,
        description=": ".join([text, ", ".join(above[:5])]) if above else text,
    )


HEALTH_CHECKS = [
    no_picture_in_two_splits,
    no_label_conflict,
    classes_are_balanced,
    labels_are_varied,
]
