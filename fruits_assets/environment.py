"""Defaults for Dagster's own commands, so that none needs a variable or a flag. Imports nothing.

Python runs this at its start in the project's environment (see `hatch_build.py`): Dagster reads
its home, and the module of `dagster asset materialize`, from variables alone; and what its
processes, Spark's JVM and the workers write is for their user alone.
"""

import os
import sys
import warnings

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_MODULE = "fruits_assets.definitions"

CHECKOUT = os.path.dirname(_PACKAGE)
IS_CHECKOUT = os.path.isfile(os.path.join(CHECKOUT, "pyproject.toml"))
"""False where the wheel is installed: nothing is ever stored beside installed packages."""

ROOT = CHECKOUT if IS_CHECKOUT else os.getcwd()
"""Where `data/` and `.dagster/` are by default: the checkout, or with the wheel this folder."""

BUNDLED = CHECKOUT if IS_CHECKOUT else os.path.join(_PACKAGE, "_bundled")
"""Where the sample and the weights are."""

DEFAULTS = {
    "DAGSTER_HOME": os.path.join(ROOT, ".dagster"),
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_ASSET_LIST_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": _MODULE,
    # Dagster's own 60 s are too few to list a million objects: a thousand calls one by one.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600",
}


OWNER_ALONE = 0o077
"""The umask: files get mode 0600 and folders 0700, whether Python, Java or delta-rs makes them."""


def set_defaults() -> None:
    """Set each variable that is not set yet and the umask; keep another Spark's Python out."""
    os.umask(OWNER_ALONE)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Dagster's commands say that others supersede them; the lock file keeps these.
    warnings.filterwarnings("ignore", r"Function `\w+` is superseded")
    _leave_out_other_sparks()


def _leave_out_other_sparks() -> None:
    """Take entries of PYTHONPATH that hold a `pyspark` or `py4j` out of it, and out of the path."""
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
