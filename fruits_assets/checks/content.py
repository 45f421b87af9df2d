"""Asset checks. They run on the host and read small statistics, so no check needs Spark."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from fruits_assets.catalog import CATALOG
from fruits_assets.metadata import rows_table
from fruits_assets.resources import AssetStorage, Residency
from spark_src.features.model import IMAGENET_WEIGHTS_SHA256
from spark_src.io.aws import configured_region
from spark_src.io.locations import Location
from spark_src.io.residency import Finding
from spark_src.pca.fit import load_current
from spark_src.pca.model import few_images_note
from spark_src.tables import csv
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.parquet import READING_THREADS, open_parquet
from spark_src.tables.registry import (
    CSV_EXPORT,
    MOBILENET_FEATURES,
    MOBILENET_MODEL,
    PCA_COMPONENTS,
    PCA_MODEL,
    RAW_IMAGES,
    REJECTED_IMAGES,
    STORED,
)
from spark_src.tables.statistics import (
    ComponentsStatistics,
    FeaturesStatistics,
    MobilenetModelStatistics,
    PcaModelStatistics,
    RawImagesStatistics,
    VectorStatistics,
)
from spark_src.tables.vectors import FEATURES


@dg.asset_check(asset=MOBILENET_FEATURES, blocking=True)
def features_have_1280_finite_numbers(storage: AssetStorage) -> dg.AssetCheckResult:
    """Every picture has 1,280 finite feature values.

    It also fails if all pictures have the same values, as with a broken model.
    """
    snapshot = storage.tables.current(MOBILENET_FEATURES)
    return _vectors_are_sound(snapshot, snapshot.typed(FeaturesStatistics).vectors, FEATURES)


@dg.asset_check(asset=PCA_COMPONENTS, blocking=True)
def components_have_n_finite_numbers(storage: AssetStorage) -> dg.AssetCheckResult:
    """Every picture has `n_components` (50) finite values.

    It also fails if all pictures have the same values.
    """
    snapshot = storage.tables.current(PCA_COMPONENTS)
    known = snapshot.typed(ComponentsStatistics)
    return _vectors_are_sound(snapshot, known.vectors, known.n_components)


@dg.asset_check(asset=PCA_COMPONENTS)
def variance_is_explained(storage: AssetStorage) -> dg.AssetCheckResult:
    """The components keep enough of the variance of the 1,280 features.

    The threshold is `min_explained_variance` (0.9), measured on the current images. Below it, the
    check reports how many components would be needed.
    """
    snapshot = storage.tables.current(PCA_MODEL)
    load_current(snapshot)  # fails if the model cannot be read
    known = snapshot.typed(PcaModelStatistics)
    required, explained = known.min_explained_variance, known.explained_variance_today
    needed = known.components_for[str(required)]
    text = f"{known.n_components} components explain {explained:.4f} of the variance"
    if known.n_components < known.n_components_requested:
        text += f" ({few_images_note(known.n_components_requested, known.n_components)})"
    if explained < required:
        text += f"; the threshold is {required:g}, which needs n_components = {needed}"
    return dg.AssetCheckResult(
        passed=explained >= required,
        description=text,
        metadata={
            "explained variance": explained,
            "explained variance when PCA was fitted": known.explained_variance,
            "threshold": required,
            "n_components": known.n_components,
            "n_components requested": known.n_components_requested,
            "n_components needed": needed,
        },
    )


@dg.asset_check(asset=MOBILENET_MODEL)
def weights_are_imagenet(storage: AssetStorage) -> dg.AssetCheckResult:
    """The model was built from the ImageNet weights that come with the project.

    Other weights are allowed, but cause a warning.
    """
    known = storage.tables.current(MOBILENET_MODEL).typed(MobilenetModelStatistics)
    passed = known.weights_sha256 == IMAGENET_WEIGHTS_SHA256
    other = f"other weights were chosen: sha256 {known.weights_sha256}"
    text = "the pinned ImageNet weights" if passed else other
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=text)


@dg.asset_check(asset=PCA_COMPONENTS)
def one_model_throughout(storage: AssetStorage) -> dg.AssetCheckResult:
    """Features and PCA come from the current model, so results of two models are never mixed.

    Model, features and PCA refer to the model by its sha256.
    """
    tables = storage.tables
    model = tables.current(MOBILENET_MODEL).typed(MobilenetModelStatistics)
    features = tables.current(MOBILENET_FEATURES).typed(FeaturesStatistics)
    pca = tables.current(PCA_MODEL).typed(PcaModelStatistics)
    digests = {
        MOBILENET_MODEL: model.sha256,
        MOBILENET_FEATURES: features.model_sha256,
        PCA_MODEL: pca.model_sha256,
    }
    passed = len(set(digests.values())) == 1
    text = (
        f"model {model.sha256[:12]} in all assets"
        if passed
        else f"different models: {digests}. Materialize mobilenet_features and its downstream "
        "assets."
    )
    return dg.AssetCheckResult(passed=passed, description=text, metadata=digests)


@dg.asset_check(asset=RAW_IMAGES)
def data_stays_in_eu(residency: Residency) -> dg.AssetCheckResult:
    """All data is in the configured EU region, not publicly accessible, and encrypted."""
    findings = residency.findings()
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


def _no_image_lost(
    asset: str, count: Callable[[Tables], dict[str, int]], equal: str
) -> dg.AssetChecksDefinition:
    description = f"No picture was lost: {equal}, counted in the stored files."

    @dg.asset_check(asset=asset, name="no_image_lost", blocking=True, description=description)
    def no_image_lost(storage: AssetStorage) -> dg.AssetCheckResult:
        counts = count(storage.tables)
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


def _rows_equal(source: str, target: str) -> dg.AssetChecksDefinition:
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


def _vectors_are_sound(
    snapshot: Snapshot, vectors: VectorStatistics, length: int
) -> dg.AssetCheckResult:
    rows = snapshot.rows
    faults = [
        (vectors.nulls, f"{vectors.nulls:,} rows have no vector"),
        (vectors.not_finite, f"{vectors.not_finite:,} rows have NaN or infinity"),
        (
            (vectors.shortest, vectors.longest) != (length, length),
            f"vectors have {vectors.shortest} to {vectors.longest} numbers, not {length}",
        ),
        (
            rows > 1 and vectors.smallest_norm == vectors.largest_norm,
            "every image has the same vector",
        ),
    ]
    found = [text for fault, text in faults if fault]
    column = STORED[snapshot.asset].vector_column
    return dg.AssetCheckResult(
        passed=not found,
        description="; ".join(found) or f"{rows:,} vectors of {length} finite numbers in {column}",
        metadata={
            "rows": rows,
            "shortest": vectors.shortest or 0,
            "longest": vectors.longest or 0,
            "not_finite": vectors.not_finite,
        },
    )


CONTENT_CHECKS = [
    features_have_1280_finite_numbers,
    components_have_n_finite_numbers,
    variance_is_explained,
    weights_are_imagenet,
    one_model_throughout,
    data_stays_in_eu,
    _no_image_lost(
        RAW_IMAGES, _ingested, "raw_images + rejected_images + ignored = files under the input"
    ),
    *(_rows_equal(asset.rows_equal, asset.name) for asset in CATALOG.values() if asset.rows_equal),
]
"""Checks of the contents of tables and models."""
