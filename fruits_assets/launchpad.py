"""The run config of the jobs `erase` and `asset_checks`."""

from typing import Any

import dagster as dg


@dg.config_mapping(config_schema={"log_level": dg.Field(str, default_value="DEBUG")})
def only_log_level(config: dict[str, str]) -> dict[str, Any]:
    """The only option, so that the launchpad does not list those of the job's resources.

    The default is Dagster's; the project's dagster.yaml raises it to INFO.
    """
    return {"loggers": {"console": {"config": config}}}
