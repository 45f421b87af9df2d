"""The op that evaluates the checks of an asset."""

from pathlib import Path

import dagster as dg

from fruits_assets.checks.grouping import CheckContext, asset_check, group_by_asset
from fruits_assets.resources import AssetStorage, Residency


@dg.asset
def apples() -> None:
    """An asset with two checks."""


@asset_check("apples")
def are_counted(context: CheckContext) -> dg.AssetCheckResult:
    """A check with a bug."""
    raise ZeroDivisionError(context.run.run_id)


@asset_check("apples")
def are_ripe(context: CheckContext) -> dg.AssetCheckResult:
    """A check that passes."""
    return dg.AssetCheckResult(passed=not context.residency.findings())


def test_an_unexpected_error_of_a_check_fails_the_op_and_hides_no_other_result(
    tmp_path: Path,
) -> None:
    graph = dg.Definitions(
        assets=[apples],
        asset_checks=group_by_asset([are_counted, are_ripe]),
        resources={"storage": AssetStorage(root=str(tmp_path)), "residency": Residency(uris=[])},
    )
    result = graph.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)
    assert not result.success
    assert [found.check_name for found in result.get_asset_check_evaluations()] == ["are_ripe"]
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_key == "apples_checks"
    assert "ZeroDivisionError" in failure.step_failure_data.error.to_string()
