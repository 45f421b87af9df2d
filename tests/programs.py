"""Programs of the system that tests need: who lacks one skips those tests, but CI fails."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str, path: str | None = None) -> str:
    """Where a program is; without it the test that asks is skipped, or in CI fails.

    Args:
        name: of the program.
        package: Debian's package that has it.
        path: the folders to look in; None: those of PATH.
    """
    found = shutil.which(name, path=path)
    if found:
        return found
    missing = f"There is no {name} on this machine: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
