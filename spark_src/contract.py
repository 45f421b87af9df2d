"""What this code and `infra/` agree on, read from `contract.json`. No values of its own."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

# By `files`: on a cluster the package lies in a zip.
_CONTRACT: dict[str, Any] = json.loads(
    files("spark_src").joinpath("contract.json").read_text(encoding="utf-8")
)

EU_REGIONS: tuple[str, ...] = tuple(_CONTRACT["eu_regions"])
"""AWS's regions in the EU in which the project may run."""

PREFIXES: dict[str, str] = _CONTRACT["prefixes"]
"""Each asset's folder under the storage."""

FOLDERS: dict[str, str] = _CONTRACT["folders"]
"""Folders of a bucket: `input`, `storage` and `cluster`; the others are under the storage."""

ENVIRONMENT_PATH: str = _CONTRACT["environment_path"]
"""Where the packed environment lies on every node of a cluster."""

RELEASES: dict[str, dict[str, str]] = _CONTRACT["releases"]
"""EMR's releases that can run the project: `spark`, `python`, `supported_until`."""

_REFUSED: dict[str, str] = _CONTRACT["refused_releases"]


def rejection_reason(release: str) -> str | None:
    """Why a release of EMR cannot run the project; None where it can.

    Args:
        release: EMR's label, e.g. `emr-7.13.0`.
    """
    if release in RELEASES:
        return None
    known = (why for start, why in _REFUSED.items() if release.startswith(start))
    why = next(known, "it has not been tried with the project")
    return f"{release} cannot run this project: {why}. Use {' or '.join(RELEASES)}."
