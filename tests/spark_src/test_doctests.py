"""The examples in docstrings, which are shown on the documentation site, are correct."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import spark_src

ROOT = Path(spark_src.__file__).parent
MODULES = sorted(
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
    for file in ROOT.rglob("*.py")
    if ">>> " in file.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_there_are_examples() -> None:
    assert "spark_src.images.layout" in MODULES
