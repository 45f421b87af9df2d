"""Thousands of histories: `uv run python -m tests.state_machine --examples 5000`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.state_machine.machine import Histories


def main() -> None:
    """Run so many histories and print how many, of how many steps, in which time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    counted: Counter[str] = Counter()

    class Counted(Histories):
        """The same, with its histories and file operations counted."""

        def teardown(self) -> None:
            counted.update(histories=1, operations=self.fuse.operations)
            super().teardown()

    started = time.monotonic()
    run_state_machine_as_test(
        Counted,
        settings=settings(
            max_examples=options.examples,
            stateful_step_count=options.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # to shrink takes minutes
        ),
    )
    sys.stdout.write(
        f"{counted['histories']:,} histories of at most {options.steps} steps, "
        f"{counted['operations']:,} file operations, {time.monotonic() - started:.0f} s: "
        "no violation\n"
    )


if __name__ == "__main__":
    main()
