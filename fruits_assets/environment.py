"""Defaults for Dagster's own commands, so that they need no variables or flags. Imports nothing.

Python runs this at start-up in the project's environment (see `hatch_build.py`), because Dagster
reads its home, and the module of `dagster asset materialize`, only from variables. It also sets the
umask, so that files written by Dagster, Spark's JVM and the workers are private to their user.
"""

import os
import site
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

HOME = os.path.join(ROOT, ".dagster")
"""Dagster's home for the default storage. Another storage has its own home beside it."""


def home_of(storage: str) -> str:
    """Dagster's home for a storage, so that the UI never mixes the records of two storages.

    Args:
        storage: the value of FRUITS_STORAGE; empty for the default.
    """
    path = storage.strip().removeprefix("file://").rstrip("/")
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path or os.path.join(ROOT, "data")))
    if path == os.path.join(ROOT, "data"):
        return HOME
    from zlib import crc32  # rarely needed

    return f"{HOME}-{os.path.basename(path)}-{crc32(path.encode()):08x}"


DEFAULTS = {
    "DAGSTER_HOME": home_of(os.environ.get("FRUITS_STORAGE", "")),
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_ASSET_LIST_MODULE_NAME": _MODULE,
    "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME": _MODULE,
    # Dagster's default of 60 s is too short to list a million objects, 1,000 per call.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600",
}


OWNER_ONLY = 0o077
"""The umask: files get mode 0600 and folders 0700, also those of Java and delta-rs."""


def set_defaults() -> None:
    """Set the umask and all unset variables, and undo settings of other Python projects."""
    _drop_shadowing_entries()  # first: every import below could find another module
    os.umask(OWNER_ONLY)
    if "DAGSTER_HOME" not in os.environ:
        _make_home(DEFAULTS["DAGSTER_HOME"])
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # The libraries' deprecation warnings must not become errors, here or in Spark's workers.
    if os.environ.pop("PYTHONWARNINGS", ""):
        kept = [entry for entry in warnings.filters if entry[0] != "error"]
        warnings.filters[:] = kept  # type: ignore[index] # a list, declared as a sequence
    # Dagster's commands warn that they are superseded; the lock file pins the version.
    warnings.filterwarnings("ignore", r"Function `\w+` is superseded")


def _make_home(home: str) -> None:
    """Create the home of another storage with the configuration of the default home."""
    if home == HOME or os.path.isdir(home):
        return
    try:
        os.makedirs(home)
        with (
            open(os.path.join(HOME, "dagster.yaml"), encoding="utf-8") as source,
            open(os.path.join(home, "dagster.yaml"), "w", encoding="utf-8") as target,
        ):
            target.write(source.read())
    except OSError:
        return  # Dagster reports a missing home; its configuration is optional


def _drop_shadowing_entries() -> None:
    """Remove PYTHONPATH entries that shadow Python's own modules or this project's libraries.

    Another Spark's folder would do so, or a folder of scripts with a `types.py`.
    """
    if not os.environ.get("PYTHONPATH"):
        return
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    installed = _installed_modules()
    kept = [entry for entry in entries if not _shadows(entry, installed)]
    if kept == entries:
        return
    dropped = {os.path.abspath(entry) for entry in entries if entry not in kept}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in dropped]
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)


def _installed_modules() -> set[str]:
    """Names of Python's own modules and of those in this environment's `site-packages`."""
    return set(sys.stdlib_module_names).union(*map(_module_names, _site_packages()))


def _site_packages() -> list[str]:
    return site.getsitepackages([sys.prefix])  # `site` knows the environment only after start-up


def _shadows(entry: str, installed: set[str]) -> bool:
    if entry.endswith(".zip"):
        return os.path.basename(entry).startswith(("py4j", "pyspark"))
    return not _is_own(entry) and not installed.isdisjoint(_module_names(entry))


def _is_own(entry: str) -> bool:
    """Whether a folder is in the running Python's library or in its `site-packages`."""
    folders = (os.path.dirname(os.__file__), *_site_packages())
    return f"{os.path.abspath(entry)}/".startswith(tuple(f"{folder}/" for folder in folders))


def _module_names(folder: str) -> set[str]:
    """Top-level modules and packages in a folder; an empty name is the working directory."""
    try:
        with os.scandir(folder or ".") as entries:
            return {
                entry.name.partition(".")[0]
                for entry in entries
                if entry.name.endswith((".py", ".so")) or _is_package(entry)
            }
    except OSError:
        return set()


def _is_package(entry: "os.DirEntry[str]") -> bool:
    return os.path.isfile(os.path.join(entry.path, "__init__.py"))
