"""All asset checks in one list, and the job that runs them. None of them needs Spark."""

from typing import Any

import dagster as dg

from fruits_assets.checks.buckets import data_stays_in_eu
from fruits_assets.checks.calibration import CLASSIFIER_CHECKS
from fruits_assets.checks.file_integrity import CHECK_JOB_NAME, FILE_CHECKS
from fruits_assets.checks.finite_vectors import VECTOR_CHECKS
from fruits_assets.checks.models import MODEL_CHECKS
from fruits_assets.checks.new_images import new_images_are_familiar
from fruits_assets.checks.quality import accuracy_is_kept
from fruits_assets.checks.rejections import few_files_rejected
from fruits_assets.checks.row_counts import ROW_COUNT_CHECKS
from fruits_assets.checks.splits_and_labels import HEALTH_CHECKS
from fruits_assets.checks.variance import axes_are_orthonormal, variance_is_explained

CHECKS = [
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


@dg.config_mapping(config_schema={"log_level": dg.Field(str, default_value="DEBUG")})
def _check_config(config: dict[str, str]) -> dict[str, Any]:
    """The only option of the job, so that the launchpad does not list those of its resources.

    Its default is Dagster's; the project's dagster.yaml raises it to INFO.
    """
    return {"loggers": {"console": {"config": config}}}


CHECK_JOB = dg.define_asset_job(
    CHECK_JOB_NAME,
    config=_check_config,
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs all checks on the stored assets; nothing is materialized.",
)
