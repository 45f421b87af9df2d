"""Runs all asset checks in this process and records them in a Dagster instance like any run."""

from dataclasses import dataclass

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from fruits_assets.checks.file_integrity import CHECK_JOB_NAME
from fruits_assets.checks.grouping import ERROR, op_name

_QUIET = {"log_level": "CRITICAL"}


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    asset: str
    check: str
    verdict: str
    text: str
    exit_code: int


def run_checks(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[Outcome]:
    """Run every check once; a check that fails or cannot run does not stop the others."""
    job = definitions.resolve_job_def(CHECK_JOB_NAME)
    result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET)
    outcomes = {outcome.asset + outcome.check: outcome for outcome in _evaluated(result)}
    for outcome in _failed(result, job) + _refused(result, job):
        outcomes.setdefault(outcome.asset + outcome.check, outcome)
    return sorted(outcomes.values(), key=lambda outcome: (outcome.asset, outcome.check))


def _evaluated(result: dg.ExecuteInProcessResult) -> list[Outcome]:
    outcomes = []
    for evaluation in result.get_asset_check_evaluations():
        key, text = evaluation.asset_check_key, evaluation.description or ""
        if ERROR in evaluation.metadata:
            outcomes.append(_without_verdict(key, text))
            continue
        error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        verdict = "passes" if evaluation.passed else ("FAILS" if error else "warns")
        exit_code = int(error and not evaluation.passed)
        asset = key.asset_key.to_user_string()
        outcomes.append(Outcome(asset, key.name, verdict, text, exit_code))
    return outcomes


def _failed(result: dg.ExecuteInProcessResult, job: dg.JobDefinition) -> list[Outcome]:
    """Checks whose step failed."""
    return [
        _without_verdict(key, _reason(event.step_failure_data.error))
        for event in result.filter_events(lambda event: event.is_step_failure)
        for key in job.asset_layer.asset_graph.asset_check_keys
        if event.step_key == op_name(key.asset_key.to_user_string())
    ]


def _refused(result: dg.ExecuteInProcessResult, job: dg.JobDefinition) -> list[Outcome]:
    """Every check, if the run failed before its first step because a resource did not start."""
    return [
        _without_verdict(key, _reason(event.job_failure_data.error))
        for event in result.filter_events(lambda event: event.is_run_failure)
        for key in job.asset_layer.asset_graph.asset_check_keys
    ]


def _without_verdict(key: dg.AssetCheckKey, text: str) -> Outcome:
    return Outcome(key.asset_key.to_user_string(), key.name, "cannot run", text, exit_code=2)


def _reason(error: SerializableErrorInfo | None) -> str:
    cause = error.cause if error and error.cause else error
    return cause.message.strip().split(": ", 1)[-1] if cause else "no reason given"
