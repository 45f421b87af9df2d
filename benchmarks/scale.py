"""Runs the pipeline on a million hard links to the sample: seconds and memory of each run.

Run: uv run python -m benchmarks.scale [--images FOLDER] [--files N] (12 GB of disk, 20 minutes)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks._common import link_pictures, picture_files, seconds_of, show
from benchmarks.processes import Process, materialize
from fruits_assets.settings import PROJECT
from spark_src.images.listing import list_files
from spark_src.io.locations import Location


def main() -> None:
    """Run all assets on new, unchanged, and 1 % added files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder of JPEG files; the sample by default")
    parser.add_argument("--files", type=int, default=1_000_000)
    options = parser.parse_args()
    pictures = picture_files(options.images)
    (PROJECT / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "data") as folder:
        source, storage = Path(folder) / "input", Path(folder) / "storage"
        link_pictures(pictures, options.files, source)
        materialize(
            source, storage, "mobilenet_model"
        )  # separately, to exclude TensorFlow's memory
        runs = [("everything", _listing_seconds(source), materialize(source, storage))]
        runs.append(("unchanged", _listing_seconds(source), materialize(source, storage)))
        link_pictures(pictures, options.files // 100, source, first=options.files)
        runs.append(("1 % new", _listing_seconds(source), materialize(source, storage)))
    show(
        f"{options.files:,} files ({len(pictures):,} different)",
        ("input", "s", "listing, s", "driver, MB", "JVM, MB", "total, MB"),
        [_row(*run) for run in runs],
    )


def _listing_seconds(source: Path) -> float:
    return seconds_of(lambda: list_files(Location.parse(str(source))))


def _row(name: str, listing: float, run: Process) -> tuple[str, ...]:
    memory = (run.driver_mb, run.jvm_mb, run.driver_mb + run.jvm_mb)
    return name, f"{run.seconds:.1f}", f"{listing:.1f}", *(f"{number:,}" for number in memory)


if __name__ == "__main__":
    main()
