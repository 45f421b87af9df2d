"""Constants shared with `infra/`, read from `contract.json`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

# `importlib.resources`, because the package is in a zip file on a cluster.
_CONTRACT: dict[str, Any] = json.loads(
    files("spark_src").joinpath("contract.json").read_text(encoding="utf-8")
)

EU_REGIONS: tuple[str, ...] = tuple(_CONTRACT["eu_regions"])
"""AWS regions in the EU in which the project may run."""

PREFIXES: dict[str, str] = _CONTRACT["prefixes"]
"""Each asset's folder under the storage."""

FOLDERS: dict[str, str] = _CONTRACT["folders"]
"""Folders of a bucket: `input`, `storage` and `cluster`; the others are under the storage."""

ENVIRONMENT_PATH: str = _CONTRACT["environment_path"]
"""Path of the packed environment on every cluster node."""

RELEASES: dict[str, dict[str, str]] = _CONTRACT["releases"]
"""EMR releases that can run the project: `spark`, `python`, `supported_until`."""

_REFUSED: dict[str, str] = _CONTRACT["refused_releases"]


def rejection_reason(release: str) -> str | None:
    """The reason an EMR release cannot run the project, or None if it can.

    Args:
        release: EMR release label, e.g. `emr-7.13.0`.
    """
    if release in RELEASES:
        return None
    known = (reason for start, reason in _REFUSED.items() if release.startswith(start))
    reason = next(known, "it has not been tried with the project")
    return f"{release} cannot run this project: {reason}. Use {' or '.join(RELEASES)}."
