"""Defaults for Dagster's own commands, so that none needs a variable or a flag. Imports nothing.

Python runs this at its start in the project's environment (see `hatch_build.py`): Dagster reads
its home, and the module of `dagster asset materialize`, from variables alone.
"""

import os

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MODULE = "fruits_assets.definitions"

DEFAULTS = {
    "DAGSTER_HOME": os.path.join(_PROJECT, ".dagster"),
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_ASSET_LIST_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": _MODULE,
    # Dagster's own 60 s are too few to list a million objects: a thousand calls one by one.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600",
}


def set_defaults() -> None:
    """Set each variable that is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
