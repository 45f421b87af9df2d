"""Asset checks. They run on the host and go by small facts, so that a check costs no Spark."""

from collections.abc import Callable, Sequence

import dagster as dg
import pyarrow.parquet as pq

from fruits_assets.drift_check import new_images_are_familiar
from fruits_assets.io_managers import VECTORS
from fruits_assets.resources import AssetStorage, Residency
from spark_src.errors import UnreadableVersionError
from spark_src.features.model import IMAGENET_WEIGHTS_SHA256
from spark_src.io.residency import Finding
from spark_src.pca import files as pca_files
from spark_src.storage import Storage, Version
from spark_src.tables import csv as export
from spark_src.tables.vectors import FEATURES


@dg.asset_check(asset="mobilenet_features", blocking=True)
def features_have_1280_finite_numbers(storage: AssetStorage) -> dg.AssetCheckResult:
    """Each vector has 1,280 finite numbers, and the pictures' vectors are not all the same."""
    return _vectors_are_sound(storage.versions.current("mobilenet_features"), FEATURES)


@dg.asset_check(asset="pca_components", blocking=True)
def components_have_n_finite_numbers(storage: AssetStorage) -> dg.AssetCheckResult:
    """Each vector has `n_components` finite numbers, and they are not all the same."""
    version = storage.versions.current("pca_components")
    return _vectors_are_sound(version, version.facts["n_components"])


@dg.asset_check(asset="pca_components")
def variance_is_explained(storage: AssetStorage) -> dg.AssetCheckResult:
    """The components explain at least `min_explained_variance` of the variance (0.9).

    Where they do not, it says how many would.
    """
    pca = pca_files.load(storage.versions.current("pca_model").location)
    wanted, explained = pca.min_explained_variance, pca.explained_variance
    needed = pca.components_for(wanted)
    text = f"{pca.n_components} components explain {explained:.4f} of the variance"
    if explained < wanted:
        text += f"; {wanted:g} is asked for and takes n_components = {needed}"
    return dg.AssetCheckResult(
        passed=explained >= wanted,
        description=text,
        metadata={
            "explained variance": explained,
            "asked for": wanted,
            "n_components": pca.n_components,
            "n_components needed": needed,
        },
    )


@dg.asset_check(asset="mobilenet_model")
def weights_are_imagenet(storage: AssetStorage) -> dg.AssetCheckResult:
    """The model was made of the ImageNet weights in `weights/`; other weights are a warning."""
    found = storage.versions.latest("mobilenet_model").facts["weights_sha256"]
    passed = found == IMAGENET_WEIGHTS_SHA256
    text = "the pinned ImageNet weights" if passed else f"other weights were chosen: sha256 {found}"
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=text)


@dg.asset_check(asset="pca_components")
def one_model_throughout(storage: AssetStorage) -> dg.AssetCheckResult:
    """Model, features and PCA name the same model by its sha256: no two models are mixed."""
    versions = storage.versions
    digests = {
        "mobilenet_model": versions.latest("mobilenet_model").facts["sha256"],
        "mobilenet_features": ", ".join(versions.latest("mobilenet_features").facts["models"]),
        "pca_model": versions.latest("pca_model").facts["model"],
    }
    passed = len(set(digests.values())) == 1
    text = (
        f"model {digests['mobilenet_model'][:12]} throughout"
        if passed
        else f"different models: {digests}. Materialize mobilenet_features and what follows it."
    )
    return dg.AssetCheckResult(passed=passed, description=text, metadata=digests)


@dg.asset_check(asset="raw_images")
def data_stays_in_eu(residency: Residency) -> dg.AssetCheckResult:
    """Storage, input and weights are in the region of the EU, closed to the public, encrypted."""
    findings = residency.findings()
    if not findings:
        return dg.AssetCheckResult(passed=True, description="all data is on this machine")
    faults = [fault for finding in findings for fault in finding.faults]
    names = ", ".join(f"s3://{finding.bucket}" for finding in findings)
    return dg.AssetCheckResult(
        passed=not faults,
        description=" ".join(faults)
        or f"{names}: in {residency.region}, public access blocked, encrypted by default",
        metadata={"buckets": _buckets_table(findings)},
    )


def _buckets_table(findings: Sequence[Finding]) -> dg.MarkdownMetadataValue:
    header = ["| bucket | region | public access | default encryption |", "| --- " * 4 + "|"]
    rows = [
        f"| {finding.bucket} | {finding.region} "
        f"| {'blocked' if finding.public_access_blocked else 'NOT BLOCKED'} "
        f"| {finding.encryption or 'NONE'} |"
        for finding in findings
    ]
    return dg.MetadataValue.md("\n".join(header + rows))


def _no_image_lost(
    asset: str, count: Callable[[Storage], dict[str, int]], equal: str
) -> dg.AssetChecksDefinition:
    meaning = f"As many images come out as went in: {equal}, counted in storage."

    @dg.asset_check(asset=asset, name="no_image_lost", blocking=True, description=meaning)
    def no_image_lost(storage: AssetStorage) -> dg.AssetCheckResult:
        counts = count(storage.versions)
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


def _ingested(versions: Storage) -> dict[str, int]:
    raw, rejected = versions.current("raw_images"), versions.current("rejected_images")
    files = {"files under the input": raw.facts["input_files"]}
    return files | {"raw_images": _stored_rows(raw), "rejected_images": _stored_rows(rejected)}


def _handed_on(source: str, target: str) -> dg.AssetChecksDefinition:
    def count(versions: Storage) -> dict[str, int]:
        return {name: _stored_rows(versions.current(name)) for name in (source, target)}

    return _no_image_lost(target, count, f"rows of {target} = rows of {source}")


def _stored_rows(version: Version) -> int:
    """Rows by what lies in storage, not by what was noted when it was written."""
    if version.asset == "csv_export":
        return export.count_rows(version.location / export.FILE)
    parts = [file for file in version.location.files() if file.base_name.startswith("part-")]
    filesystem = version.location.filesystem
    return sum(pq.read_metadata(file.path, filesystem=filesystem).num_rows for file in parts)


def _vectors_are_sound(version: Version, length: int) -> dg.AssetCheckResult:
    facts = version.facts
    stored = _stored_rows(version)
    if stored != version.rows:
        raise UnreadableVersionError(
            f"{version.asset}: {version.location} holds {stored:,} rows, but {version.rows:,} were "
            f"written. Materialize {version.asset} again."
        )
    faults = [
        (facts["nulls"], f"{facts['nulls']:,} rows have no vector"),
        (facts["not_finite"], f"{facts['not_finite']:,} rows have NaN or infinity"),
        (
            (facts["shortest"], facts["longest"]) != (length, length),
            f"vectors have {facts['shortest']} to {facts['longest']} numbers, not {length}",
        ),
        (
            version.rows > 1 and facts["smallest_norm"] == facts["largest_norm"],
            "every image has the same vector",
        ),
    ]
    found = [text for fault, text in faults if fault]
    return dg.AssetCheckResult(
        passed=not found,
        description="; ".join(found)
        or f"{version.rows:,} vectors of {length} finite numbers in {VECTORS[version.asset]}",
        metadata={name: facts[name] for name in ("rows", "shortest", "longest", "not_finite")},
    )


CHECKS = [
    features_have_1280_finite_numbers,
    components_have_n_finite_numbers,
    variance_is_explained,
    weights_are_imagenet,
    one_model_throughout,
    new_images_are_familiar,
    data_stays_in_eu,
    _no_image_lost("raw_images", _ingested, "raw_images + rejected_images = files under the input"),
    _handed_on("raw_images", "mobilenet_features"),
    _handed_on("mobilenet_features", "pca_components"),
    _handed_on("pca_components", "csv_export"),
]
