"""Runs the pipeline as processes on new, unchanged, 1 % and one added pictures: cost of each run.

Run: uv run python -m benchmarks.refresh [--images FOLDER] [--count N] [--factor N]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import link_pictures, picture_files, seconds_of, show, write_pictures
from benchmarks.processes import Process, materialize
from fruits_assets.settings import PROJECT
from spark_src.contract import PREFIXES
from spark_src.images.listing import list_files
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import RawImagesStatistics

_EVALUATIONS = {"Results_Health", "Classifier"}
"""Folders in storage."""

Fill = Callable[..., None]
"""`link_pictures` or `write_pictures`."""


@dataclass(frozen=True)
class Run:
    """Cost of one run of all assets."""

    process: Process
    assets: dict[str, float]
    """Seconds of each asset that has a new version."""
    listing: float
    """Seconds to list the input, measured separately."""
    read: int
    """Pictures read from the input."""
    tables: int
    """Bytes of new files, except those below."""
    csv: int
    """Bytes of rewritten CSV files, which are always written completely."""
    evaluations: int
    """Bytes of data health and classifier files, which are also written completely."""


def main() -> None:
    """Run all assets repeatedly on the same storage, and print the cost of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument("--count", type=int, default=5_000, help="number of initial pictures")
    parser.add_argument(
        "--factor", type=int, default=1, help="also run with this multiple of pictures"
    )
    parser.add_argument(
        "--distinct", action="store_true", help="distinct rotated copies instead of hard links"
    )
    parser.add_argument("--keep", help="an existing empty working folder, which is kept")
    options = parser.parse_args()
    files = picture_files(options.images)
    fill = write_pictures if options.distinct else link_pictures
    (PROJECT / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "data") as temporary:
        folder = Path(options.keep or temporary)
        one_percent = max(1, options.count // 100)
        batches = {"everything": 0, "unchanged": 0, "1 % new": one_percent, "one new": 1}
        rows = _runs(files, options.count, folder, batches, fill)
        if options.factor > 1:
            batches = {f"x {options.factor}: everything": 0, f"x {options.factor}: unchanged": 0}
            rows += _runs(files, options.count * options.factor, folder / "large", batches, fill)
    whole = rows[0][1]
    show(
        f"{options.count:,} pictures ({len(files):,} different files)",
        (
            "input",
            "s",
            "listing, s",
            "of the first run",
            "pictures read",
            "tables, MB",
            "of storage",
            "CSV, MB",
            "health and classifier, MB",
        ),
        [
            (
                name,
                f"{run.process.seconds:.1f}",
                f"{run.listing:.1f}",
                f"{run.process.seconds / whole.process.seconds:.1%}",
                f"{run.read:,}",
                f"{run.tables / 1e6:.1f}",
                f"{run.tables / size:.1%}",
                f"{run.csv / 1e6:.1f}",
                f"{run.evaluations / 1e6:.1f}",
            )
            for name, run, size in rows
        ],
    )
    show(
        "seconds of each asset, and memory",
        ("asset", *(name for name, *_ in rows)),
        [
            *((asset, *(_seconds(run, asset) for _, run, _ in rows)) for asset in PREFIXES),
            ("driver, MB", *(f"{run.process.driver_mb:,}" for _, run, _ in rows)),
            ("JVM, MB", *(f"{run.process.jvm_mb:,}" for _, run, _ in rows)),
        ],
    )


def _seconds(run: Run, asset: str) -> str:
    return f"{run.assets[asset]:.1f}" if asset in run.assets else "unchanged"


def _runs(
    files: list[Path], count: int, folder: Path, batches: dict[str, int], fill: Fill
) -> list[tuple[str, Run, int]]:
    """One run per batch of new pictures, after the first `count`."""
    source, storage = folder / "input", folder / "storage"
    fill(files, count, source)
    runs, present = [], count
    for name, new in batches.items():
        fill(files, new, source, first=present)
        present += new
        runs.append((name, _run(source, storage), _size(storage)))
    return runs


def _run(source: Path, storage: Path) -> Run:
    before, versions = _files(storage), _versions(storage)
    process = materialize(source, storage)
    new = {path: size for path, size in _files(storage).items() if before.get(path) != size}
    csv = sum(size for path, size in new.items() if path.suffix == ".csv")
    evaluations = sum(size for path, size in new.items() if _EVALUATIONS & set(path.parts))
    tables = Tables(Location.parse(str(storage)))
    changed = {
        asset: tables.current(asset).statistics.seconds
        for asset, version in _versions(storage).items()
        if versions.get(asset) != version
    }
    read = _read(tables) if "raw_images" in changed else 0
    listing = seconds_of(lambda: list_files(Location.parse(str(source))))
    others = sum(new.values()) - csv - evaluations
    return Run(process, changed, listing, read, others, csv, evaluations)


def _files(storage: Path) -> dict[Path, int]:
    """File -> size. A replaced file of the same size counts as unchanged."""
    return {path: path.stat().st_size for path in storage.rglob("*") if path.is_file()}


def _size(storage: Path) -> int:
    return sum(_files(storage).values())


def _versions(storage: Path) -> dict[str, int]:
    tables = Tables(Location.parse(str(storage)))
    found = {asset: tables.find(asset) for asset in PREFIXES}
    return {asset: snapshot.version for asset, snapshot in found.items() if snapshot}


def _read(tables: Tables) -> int:
    return tables.current("raw_images").typed(RawImagesStatistics).n_read


if __name__ == "__main__":
    main()
