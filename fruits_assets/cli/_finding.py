"""A line of the report of `fruits doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Level(IntEnum):
    """Severity of a finding; the highest is the exit code, as with `fruits check`."""

    GOOD = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """A line of the report."""

    subject: str
    text: str
    level: Level = Level.GOOD


def existing_folder(folder: Path) -> Path:
    """The folder itself, or the nearest of its parents that exists."""
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())
