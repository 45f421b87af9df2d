"""Spark's scratch folder: under the storage, private to the user, deleted after use.

A killed JVM leaves its files behind. The next process on the same machine deletes them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
from pathlib import Path

FOLDER = "_scratch"
"""Under the storage if that is on disk, otherwise under Dagster's home."""


def make_scratch(root: Path) -> Path:
    """Create a folder for this process's Spark, and delete those of ended processes.

    Args:
        root: the parent of all scratch folders; created with mode 0700.

    Returns:
        The new folder. It is deleted when this process ends.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    for folder in root.iterdir():
        if not is_in_use(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
    own = root / f"{socket.gethostname()}-{os.getpid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def is_in_use(name: str) -> bool:
    """Whether the process named in a folder's name may still be running."""
    host, _, pid = name.rpartition("-")
    if host != socket.gethostname() or not pid.isdigit():
        return True  # another machine: assume it is running
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
