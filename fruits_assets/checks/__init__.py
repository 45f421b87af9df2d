"""All asset checks in one list, and the job that runs them. None of them needs Spark."""

import dagster as dg

from fruits_assets.checks.accuracy import accuracy_is_kept
from fruits_assets.checks.buckets import data_stays_in_eu
from fruits_assets.checks.calibration import CLASSIFIER_CHECKS
from fruits_assets.checks.file_integrity import CHECK_JOB_NAME, FILE_CHECKS
from fruits_assets.checks.finite_vectors import VECTOR_CHECKS
from fruits_assets.checks.grouping import group_by_asset
from fruits_assets.checks.models import MODEL_CHECKS
from fruits_assets.checks.new_images import new_images_are_familiar
from fruits_assets.checks.rejections import few_files_rejected
from fruits_assets.checks.row_counts import ROW_COUNT_CHECKS
from fruits_assets.checks.splits_and_labels import HEALTH_CHECKS
from fruits_assets.checks.variance import axes_are_orthonormal, variance_is_explained
from fruits_assets.launchpad import only_log_level

CHECKS = group_by_asset(
    [
        *VECTOR_CHECKS,
        axes_are_orthonormal,
        variance_is_explained,
        accuracy_is_kept,
        few_files_rejected,
        *MODEL_CHECKS,
        data_stays_in_eu,
        *ROW_COUNT_CHECKS,
        new_images_are_familiar,
        *HEALTH_CHECKS,
        *CLASSIFIER_CHECKS,
        *FILE_CHECKS,
    ]
)

CHECK_JOB = dg.define_asset_job(
    CHECK_JOB_NAME,
    config=only_log_level,
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs all checks on the stored assets; nothing is materialized.",
)
