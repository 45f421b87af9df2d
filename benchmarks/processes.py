"""Runs the command as a separate process and measures seconds and memory of driver and JVM."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLING_SECONDS = 0.2


@dataclass(frozen=True)
class Process:
    """Duration of a command, and peak resident memory of the process and its JVM."""

    seconds: float
    driver_mb: int
    jvm_mb: int


def materialize(source: Path, storage: Path, select: str = "*") -> Process:
    """Run `dagster asset materialize`, and print its log if it fails."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    command += ["-m", "fruits_assets.definitions", "--select", select]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "FRUITS_INPUT": str(source),
            "FRUITS_STORAGE": str(storage),
            "DAGSTER_HOME": home,
        }
        log = Path(home) / "log"
        started = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stderr=output)
            peaks: dict[str, int] = {}
            watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
            watcher.start()
            process.wait()
        watcher.join()
        seconds = time.perf_counter() - started
        if process.returncode:
            sys.exit(log.read_text()[-4000:])
    return Process(seconds, peaks.get("driver", 0), peaks.get("jvm", 0))


def _watch(process: subprocess.Popen[bytes], peaks: dict[str, int]) -> None:
    while process.poll() is None:
        for pid in (process.pid, *_children(process.pid)):
            status = _status(pid)
            kind = "jvm" if status.get("Name") == "java" else "driver"
            if kind == "jvm" or pid == process.pid:
                peaks[kind] = max(peaks.get(kind, 0), _megabytes(status.get("VmHWM", "0 kB")))
        time.sleep(SAMPLING_SECONDS)


def _children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def _megabytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) // 1024
