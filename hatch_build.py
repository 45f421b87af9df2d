"""Build hook: what an editable install and a wheel have besides the packages.

In an editable install Dagster's commands get their defaults when Python starts; a wheel carries the
sample and the weights, which a checkout has beside the packages.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DefaultsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts one line beside the installed packages: see `fruits_assets/environment.py`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to an editable install, and the folders to a wheel for other machines."""
        build_data["force_include_editable"]["environment.pth"] = "fruits_environment.pth"
        if version == "standard":
            for folder in ("sample", "weights"):
                build_data["force_include"][folder] = f"fruits_assets/_bundled/{folder}"
