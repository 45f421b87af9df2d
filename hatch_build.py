"""Build hook that adds files to wheels and editable installs.

An editable install gets a `.pth` file with the defaults of Dagster's commands. A wheel gets the
sample and the weights, which a checkout has next to the packages.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DefaultsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds files that are not part of the packages: see `fruits_assets/environment.py`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to an editable install and the folders to a wheel."""
        build_data["force_include_editable"]["environment.pth"] = "fruits_environment.pth"
        if version == "standard":
            for folder in ("sample", "weights"):
                build_data["force_include"][folder] = f"fruits_assets/_bundled/{folder}"
