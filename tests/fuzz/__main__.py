"""Runs mutated pictures through ingest: outcome, time and memory of each.

Run: uv run python -m tests.fuzz [--count N] [--seed N] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import track
from rich.table import Table

from spark_src.features.model import convert
from spark_src.io.locations import Location
from spark_src.spark.session import local_config, use_bundled_java
from spark_src.tables.parquet import read_columns
from tests.fuzz.mutants import SEED, mutants, seeds
from tests.fuzz.trial import ACCEPTED, Trial, try_file, warm_engine
from tests.pipeline import ingest, tables_in

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = REPOSITORY / "weights" / "mobilenet_v2_1.0_224_no_top.h5"
SEEDS = [
    REPOSITORY / "sample" / "fruits-360" / "Test",
    REPOSITORY.parent / "shared" / "data" / "odd-images",
]

MAX_SECONDS = 5
MAX_MEGABYTES = 600

Trials = dict[str, tuple[str, Trial]]


def main() -> None:
    """Try each mutant alone, then all with Spark; exit with 1 if a limit is exceeded."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 170)
    engine = warm_engine(convert(Location.parse(str(WEIGHTS))).content)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        trials: Trials = {}
        files = mutants(seeds(SEEDS), options.count, seed=options.seed)
        for mutant in track(files, "mutants", options.count, console=Console(stderr=True)):
            (Path(folder) / mutant.name).write_bytes(mutant.content)
            trials[mutant.name] = (mutant.kind, try_file(mutant.content, engine))
        console.print(_table(trials))
        stored = ingest_outcomes(_spark(), Path(folder))
    faults = [*_faults(trials), *_unaccounted(trials, stored)]
    counts = Counter(outcome == ACCEPTED for outcome in stored.values())
    console.print(
        f"{len(trials):,} files = {counts[True]:,} in raw_images + {counts[False]:,} in "
        f"rejected_images; {len(faults)} faults",
        *faults,
        sep="\n",
    )
    sys.exit(bool(faults))


def ingest_outcomes(spark: SparkSession, folder: Path) -> dict[str, str]:
    """`accepted` or the reason code of every file by path, from ingest's two tables."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as storage:
        found = ingest(spark, tables_in(Path(storage)), folder)
        pictures = read_columns(found.raw.locations, ["path"])
        ledger = read_columns(found.rejected.locations, ["path", "reason"])
    rows = [(path, ACCEPTED) for path in pictures["path"].to_pylist()]
    rows += zip(ledger["path"].to_pylist(), ledger["reason"].to_pylist(), strict=True)
    if len(dict(rows)) != len(rows):
        raise AssertionError("a file is in the tables more than once")
    return dict(rows)


def _unaccounted(trials: Trials, stored: dict[str, str]) -> list[str]:
    lost = [f"{name}: in neither table" for name in trials if name not in stored]
    return lost + [
        f"{name}: {trial.outcome} alone, {stored[name]} in Spark"
        for name, (_, trial) in trials.items()
        if stored.get(name, trial.outcome) != trial.outcome
    ]


def _faults(trials: Trials) -> list[str]:
    return [
        f"{name}: {trial.outcome}, {trial.seconds:.1f} s, {trial.megabytes:.0f} MB"
        for name, (_, trial) in trials.items()
        if " " in trial.outcome or trial.seconds > MAX_SECONDS or trial.megabytes > MAX_MEGABYTES
    ]


def _table(trials: Trials) -> Table:
    columns = ("mutation", "files", "accepted", "rejected by reason", "slowest ms", "most MB")
    table = Table(*columns, "slowest ms, then", "most MB, then", title="Mutants through ingest")
    kinds = defaultdict(list)
    for kind, trial in trials.values():
        kinds[kind].append(trial)
    for kind, found in [*kinds.items(), ("all", [trial for _, trial in trials.values()])]:
        reasons = Counter(trial.outcome for trial in found)
        good = reasons.pop(ACCEPTED, 0)
        rejected = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        worst = [
            max(trial.seconds for trial in found) * 1000,
            max(trial.megabytes for trial in found),
            max(trial.features_seconds for trial in found) * 1000,
            max(trial.features_megabytes for trial in found),
        ]
        table.add_row(
            kind, str(len(found)), str(good), rejected, *(f"{number:,.0f}" for number in worst)
        )
    return table


def _spark() -> SparkSession:
    use_bundled_java()
    builder = SparkSession.builder
    for name, value in local_config().items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--folder", help="temporary folder for the mutants: some gigabytes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
