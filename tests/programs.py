"""System programs that tests need: without them, tests are skipped, or fail in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(
    name: str, package: str, path: str | None = None, installer: str = "apt-get install"
) -> str:
    """The path of a program; skip the test without it, or fail in CI.

    Args:
        name: the program's name.
        package: the package of the program, in Debian by default.
        path: the folders to search; None for PATH.
        installer: the command that installs the package.
    """
    found = shutil.which(name, path=path)
    if not found:
        skip_or_fail(f"There is no {name} on this machine: {installer} {package}")
    return found


def skip_or_fail(missing: str) -> NoReturn:
    """Skip the test because of this machine, or fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
