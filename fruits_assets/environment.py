"""Defaults for Dagster's own commands, so that none needs a variable or a flag. Imports nothing.

Python runs this at its start in the project's environment (see `hatch_build.py`): Dagster reads
its home, and the module of `dagster asset materialize`, from variables alone; and what its
processes, Spark's JVM and the workers write is for their user alone.
"""

import os

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MODULE = "fruits_assets.definitions"

DEFAULTS = {
    "DAGSTER_HOME": os.path.join(_PROJECT, ".dagster"),
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_ASSET_LIST_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": _MODULE,
}


OWNER_ALONE = 0o077
"""The umask: files get mode 0600 and folders 0700, whether Python, Java or delta-rs makes them."""


def set_defaults() -> None:
    """Set each variable that is not set yet, and the umask that every process here inherits."""
    os.umask(OWNER_ALONE)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
