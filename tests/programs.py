"""System programs that tests need: without them, tests are skipped, or fail in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str, path: str | None = None) -> str:
    """The path of a program; skip the test without it, or fail in CI.

    Args:
        name: the program's name.
        package: the Debian package of the program.
        path: the folders to search; None for PATH.
    """
    found = shutil.which(name, path=path)
    if found:
        return found
    missing = f"There is no {name} on this machine: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
