"""How many workers and how much memory Spark takes on this machine: what may be used, not owned."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

WORKER_BYTES = 600 * 2**20
"""A Python worker at its peak: the libraries, the model, a picture of the greatest size."""

DRIVER_BYTES = (2**31, 2**30, 700 * 2**20)
"""Java's heap, the first that leaves room for a worker."""

HOST_BYTES = 700 * 2**20
"""This process: Dagster, Arrow, plots."""

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What Spark may use."""

    cores: int
    memory: int
    """Bytes."""

    @property
    def driver_memory(self) -> int:
        """Bytes of Java's heap."""
        fits = (n for n in DRIVER_BYTES if n + HOST_BYTES + WORKER_BYTES <= self.memory)
        return next(fits, DRIVER_BYTES[-1])

    @property
    def workers(self) -> int:
        """Python workers at once: a core each, and no more than the memory holds."""
        room = self.memory - self.driver_memory - HOST_BYTES
        return max(1, min(self.cores, room // WORKER_BYTES))


def this_machine() -> Machine:
    """What this process may use of the machine: containers, `taskset` and the like included."""
    return Machine(available_cores(), available_memory())


def available_cores() -> int:
    """Cores that this process may run on, a container's quota included."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def available_memory(root: Path = _CGROUPS, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes: the machine's, or the container's where that has less."""
    limits = [_total(meminfo)]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):  # no such version of cgroups, or "max"
            continue
    return min(limits)


def _total(meminfo: Path) -> int:
    try:
        text = meminfo.read_text()
    except OSError:  # macOS
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(text.split("MemTotal:")[1].split()[0]) * 1024


def _quota(root: Path = _CGROUPS) -> int | None:
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
