"""Defaults for Dagster's own commands, so that they need no variables or flags. Imports nothing.

Python runs this at start-up in the project's environment (see `hatch_build.py`), because Dagster
reads its home, and the module of `dagster asset materialize`, only from variables. It also sets the
umask, so that files written by Dagster, Spark's JVM and the workers are private to their user.
"""

import os
import sys
import warnings

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_MODULE = "fruits_assets.definitions"

CHECKOUT = os.path.dirname(_PACKAGE)
IS_CHECKOUT = os.path.isfile(os.path.join(CHECKOUT, "pyproject.toml"))
"""False for an installed wheel: nothing is stored next to installed packages."""

ROOT = CHECKOUT if IS_CHECKOUT else os.getcwd()
"""Default folder of `data/` and `.dagster/`: the checkout, or the working directory for a wheel."""

BUNDLED = CHECKOUT if IS_CHECKOUT else os.path.join(_PACKAGE, "_bundled")
"""The folder of the sample and the weights."""

DEFAULTS = {
    "DAGSTER_HOME": os.path.join(ROOT, ".dagster"),
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_ASSET_LIST_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": _MODULE,
    # Dagster's default of 60 s is too short to list a million objects, 1,000 per call.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600",
}


OWNER_ONLY = 0o077
"""The umask: files get mode 0600 and folders 0700, also those of Java and delta-rs."""


def set_defaults() -> None:
    """Set the umask and all unset variables, and drop other Spark installations from the path."""
    os.umask(OWNER_ONLY)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Dagster's commands warn that they are superseded; the lock file pins the version.
    warnings.filterwarnings("ignore", r"Function `\w+` is superseded")
    _drop_other_sparks()


def _drop_other_sparks() -> None:
    """Remove entries with `pyspark` or `py4j` from PYTHONPATH and `sys.path`."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if not _has_spark(entry)]
    if kept == entries:
        return
    sys.path[:] = [entry for entry in sys.path if entry in kept or entry not in entries]
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)


def _has_spark(entry: str) -> bool:
    if entry.endswith(".zip"):
        return os.path.basename(entry).startswith(("py4j", "pyspark"))
    is_own = os.path.abspath(entry).startswith(sys.prefix + os.sep)
    return bool(entry) and not is_own and os.path.isdir(os.path.join(entry, "pyspark"))
