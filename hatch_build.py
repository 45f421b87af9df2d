"""Build hook: in an editable install, Dagster's commands get their defaults when Python starts."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DefaultsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts one line beside the installed packages: see `fruits_assets/environment.py`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to an editable install; a wheel for other machines stays without it."""
        build_data["force_include_editable"]["environment.pth"] = "fruits_environment.pth"
