"""Refuses folders that are missing or not writable, before a command loads anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spark_src.errors import SettingsError

if TYPE_CHECKING:
    from spark_src.io.locations import Location


def require_folders(storage: Location) -> None:
    """Require that Dagster's home exists, and that it and a local storage are writable.

    Raises:
        SettingsError: a folder is missing or not writable.
    """
    require_home()
    home = Path(os.environ["DAGSTER_HOME"])
    _require_writable(home, "DAGSTER_HOME", "Dagster keeps its records of runs")
    if storage.scheme == "file":
        _require_writable(Path(storage.path), "FRUITS_STORAGE", "the tables are stored")


def require_home() -> None:
    """Require that DAGSTER_HOME is an existing folder; the default one is created when needed.

    Raises:
        SettingsError: it is a relative path, a file, or missing.
    """
    from fruits_assets.environment import DEFAULTS

    home = os.environ["DAGSTER_HOME"]
    if not os.path.isabs(home):
        raise SettingsError(f"DAGSTER_HOME={home} is relative: use an absolute path.")
    if os.path.isdir(home) or home == DEFAULTS["DAGSTER_HOME"]:
        return
    if os.path.exists(home):
        raise SettingsError(
            f"DAGSTER_HOME={home} is a file: use a folder, or unset DAGSTER_HOME to use the "
            "project's default."
        )
    raise SettingsError(
        f"DAGSTER_HOME={home} does not exist: create it (`mkdir -p {home}`), or unset "
        "DAGSTER_HOME to use the project's default."
    )


def _require_writable(folder: Path, variable: str, purpose: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except FileExistsError as error:
        raise SettingsError(
            f"{folder}, where {purpose}, is a file: set {variable} to a folder."
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{folder}, where {purpose}, is not writable ({error.strerror}): set {variable} "
            "to a folder that you may write to."
        ) from error
