"""Thousands of random histories of runs, erasures, vacuums and crashes.

Run: uv run python -m tests.state_machine [--examples N] [--steps N] [--shrink]
"""

from __future__ import annotations

import argparse
import time

from hypothesis.stateful import run_state_machine_as_test
from rich.console import Console

from tests.state_machine.machine import TablesMachine, hypothesis_settings


def main() -> None:
    """Generate histories; print how many, or the first one that violates an invariant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5_000, help="histories (default: 5000)")
    parser.add_argument("--steps", type=int, default=30, help="steps per history (default: 30)")
    parser.add_argument(
        "--shrink", action="store_true", help="shrink a failing history (takes minutes)"
    )
    options = parser.parse_args()
    started = time.monotonic()
    run_state_machine_as_test(
        TablesMachine,
        settings=hypothesis_settings(options.examples, options.steps, shrink=options.shrink),
    )
    counts = TablesMachine.counts
    printed = [f"{counts[what]:,} {what}" for what in ("examples", "steps")]
    others = [
        f"{count:,} {what}" for what, count in sorted(counts.items()) if what not in printed[0]
    ]
    seconds = f"{time.monotonic() - started:,.0f} s"
    Console().print(f"{' with '.join(printed)} in {seconds}: all invariants hold")
    Console().print(", ".join(other for other in others if other not in printed))


if __name__ == "__main__":
    main()
