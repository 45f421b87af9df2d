"""All asset checks in one list, and the job that runs them."""

import dagster as dg

from fruits_assets.checks.classifier import CLASSIFIER_CHECKS
from fruits_assets.checks.content import CONTENT_CHECKS
from fruits_assets.checks.file_integrity import CHECK_JOB_NAME, FILE_CHECKS
from fruits_assets.checks.health import HEALTH_CHECKS
from fruits_assets.checks.new_images import new_images_are_familiar

CHECKS = [
    *CONTENT_CHECKS,
    new_images_are_familiar,
    *HEALTH_CHECKS,
    *CLASSIFIER_CHECKS,
    *FILE_CHECKS,
]

CHECK_JOB = dg.define_asset_job(
    CHECK_JOB_NAME,
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs all checks on the stored assets; nothing is materialized.",
)
