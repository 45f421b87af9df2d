"""Commands of the first hour as whole processes on the sample: medians, least and most seconds.

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
    """Run each command in turn, round after round, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            k = str(10 + number)  # another one each time, so that PCA has something to do
            for command in (
                ("run",),
                ("run", "--select", "pca_model+", "-k", k),
                ("check",),
                ("path", "csv_export"),
            ):
                name = " ".join(command).replace(f"-k {k}", "-k N")
                seconds.setdefault(name, []).append(_timed(command, Path(folder)))
    columns = ["fruits …", "median s", "least", "most"]
    rows = [
        [name, *(f"{of(taken):.1f}" for of in (statistics.median, min, max))]
        for name, taken in seconds.items()
    ]
    show(f"{rounds} rounds, the sample", columns, rows)


def _timed(command: tuple[str, ...], folder: Path) -> float:
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    own = {"FRUITS_STORAGE": str(folder / "data"), "DAGSTER_HOME": str(home)}
    started = time.monotonic()
    done = subprocess.run(
        [FRUITS, *command], env=os.environ | own, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):  # a check that fails is no fault of the clock
        raise SystemExit(done.stdout + done.stderr)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
