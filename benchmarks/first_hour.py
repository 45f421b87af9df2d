"""Runs the commands of the tutorial as processes on the sample: median, min and max seconds.

Run: uv run python -m benchmarks.first_hour [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._common import show

FRUITS = str(Path(sys.executable).with_name("fruits"))


def main() -> None:
    """Run the commands in several rounds, and print their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            k = str(10 + number)  # different in each round, so that PCA is refitted
            for command in (
                ("run",),
                ("run", "--select", "pca_model+", "-k", k),
                ("check",),
                ("path", "csv_export"),
            ):
                name = " ".join(command).replace(f"-k {k}", "-k N")
                seconds.setdefault(name, []).append(_timed(command, Path(folder)))
    columns = ["fruits …", "median s", "min", "max"]
    rows = [
        [name, *(f"{of(taken):.1f}" for of in (statistics.median, min, max))]
        for name, taken in seconds.items()
    ]
    show(f"{rounds} rounds, the sample", columns, rows)


def _timed(command: tuple[str, ...], folder: Path) -> float:
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    variables = {"FRUITS_STORAGE": str(folder / "data"), "DAGSTER_HOME": str(home)}
    started = time.monotonic()
    done = subprocess.run(
        [FRUITS, *command], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    failed_check = command[0] == "check" and done.returncode == 1  # does not affect the time
    if done.returncode and not failed_check:
        raise SystemExit(done.stdout + done.stderr)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
