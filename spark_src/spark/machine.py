"""Chooses the number of workers and the memory of Spark on this machine, within its limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

WORKER_BYTES = 600 * 2**20
"""Peak memory of a Python worker: libraries, model, a picture of maximum size."""

DRIVER_BYTES = (2**31, 2**30, 700 * 2**20)
"""Sizes for Java's heap: the first that leaves room for a worker is used."""

HOST_BYTES = 700 * 2**20
"""Memory of this process: Dagster, Arrow, plots."""

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


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
        """Number of concurrent Python workers: one per core, or fewer if memory is short."""
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
    return max(1, min(cores, cpu_quota() or cores))


def available_memory(
    root: Path = _CGROUPS, meminfo: Path = Path("/proc/meminfo"), groups: Path = _OWN_GROUPS
) -> int:
    """Memory in bytes: the machine's, or the lowest limit of a container or service."""
    limits = [_total(meminfo)]
    for folder in _group_folders("memory", root, groups):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # another cgroups version, or "max"
                continue
    return min(limits)


def _group_folders(controller: str, root: Path, groups: Path) -> Iterator[Path]:
    """The control groups that limit this process: its own and their parents, in both versions."""
    yield from (root, root / controller)
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # macOS
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            yield root / (controller if controllers else "") / group


def _total(meminfo: Path) -> int:
    try:
        text = meminfo.read_text()
    except OSError:  # macOS
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(text.split("MemTotal:")[1].split()[0]) * 1024


def cpu_quota(root: Path = _CGROUPS, groups: Path = _OWN_GROUPS) -> int | None:
    """The number of cores that control groups allow, rounded down; None if they set no quota."""
    quotas = (_quota_of(folder) for folder in _group_folders("cpu", root, groups))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> int | None:
    """Cores that a control group may use, rounded down; None if it has no quota."""
    files = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # the second: version 1
    for names in files:
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if int(quota) > 0:
                return max(1, int(quota) // int(period))
        except (OSError, ValueError):  # another version, or "max"
            continue
    return None
