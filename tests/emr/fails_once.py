"""An asset whose first attempt fails on the cluster; shipped together with the project's code."""

from typing import Any

import dagster as dg

HERE: dict[str, Any] = {}
"""The launcher, set on the host only: a step on the cluster imports this module again."""


@dg.resource
def launcher() -> Any:
    return HERE.get("launcher")


@dg.asset(required_resource_keys={"launcher"}, retry_policy=dg.RetryPolicy(max_retries=1))
def pictures(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    if context.retry_number == 0:
        raise RuntimeError("a disk was full")
    return dg.MaterializeResult(metadata={"try": context.retry_number})


def again() -> dg.JobDefinition:
    job = dg.define_asset_job("again", "*", executor_def=dg.in_process_executor)
    definitions = dg.Definitions([pictures], jobs=[job], resources={"launcher": launcher})
    return definitions.resolve_job_def("again")
