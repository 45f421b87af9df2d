"""Where Spark keeps what it spills: under the storage, for nobody else's eyes, and not for long.

A JVM that is killed leaves its files behind. The next one on the same machine deletes them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
from pathlib import Path

FOLDER = "_scratch"
"""Under the storage where that is on disk, else under Dagster's home."""


def make_scratch(root: Path) -> Path:
    """A folder for this process's Spark; those of processes that have ended are deleted.

    Args:
        root: the folder of all of them; it is made, with mode 0700.

    Returns:
        A new folder, which is deleted when this process ends.
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
    """Whether the process that a folder is named for may still live."""
    host, _, pid = name.rpartition("-")
    if host != socket.gethostname() or not pid.isdigit():
        return True  # another machine's: nobody can tell from here
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
