"""Chooses the number of workers and the memory of Spark on this machine, within its limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

WORKER_BYTES = 600 * 2**20
"""Peak memory of a Python worker: libraries, model, a picture of maximum size."""

DRIVER_BYTES = (2**31, 2**30, 700 * 2**20)
"""Sizes for Java's heap: the first that leaves room for a worker is used."""

HOST_BYTES = 700 * 2**20
"""Memory of this process: Dagster, Arrow, plots."""

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Resources that Spark may use."""

    cores: int
    memory: int
    """In bytes."""

    @property
    def driver_memory(self) -> int:
        """Size of Java's heap in bytes."""
        fits = (n for n in DRIVER_BYTES if n + HOST_BYTES + WORKER_BYTES <= self.memory)
        return next(fits, DRIVER_BYTES[-1])

    @property
    def workers(self) -> int:
        """Number of concurrent Python workers: one per core, as far as the memory suffices."""
        room = self.memory - self.driver_memory - HOST_BYTES
        return max(1, min(self.cores, room // WORKER_BYTES))


def this_machine() -> Machine:
    """Resources available to this process, within the limits of containers or `taskset`."""
    return Machine(available_cores(), available_memory())


def available_cores() -> int:
    """Cores available to this process, within a container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def available_memory(root: Path = _CGROUPS, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory in bytes: the machine's, or the container's limit if that is lower."""
    limits = [_total(meminfo)]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):  # another cgroups version, or "max"
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
