"""Redirects the output of Java and C++ while a command prints its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG = "last_run/stderr.log"
"""Standard error of Java and C++, in the scratch folder."""


@contextmanager
def native_output_to(log: Path) -> Iterator[Console]:
    """Redirect standard error of Java and C++ to a file."""
    from rich.console import Console

    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.stderr.flush()
    kept, file = os.dup(2), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.dup2(file, 2)
        yield Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)
