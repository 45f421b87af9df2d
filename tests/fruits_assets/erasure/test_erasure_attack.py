"""Adversarial test of erasures that could miss data, destroy too much, or be undone.

Forty people with odd names, erased in two batches, one cut off at each stage, while a run races
them. Then an independent scanner searches for them. With killed processes:
`uv run python -m tests.erasure_attack`.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.target import Target, subject_in_tables
from spark_src.errors import ConcurrentWriteError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.parquet import read_columns
from tests.erasure_scanner import files_with
from tests.fruits_assets.erasure.odd_people import MARKER, ODD_NAMES, STAYING, write_photos
from tests.fruits_assets.erasure.pipeline import Run, error_of, run_job
from tests.pipeline import tables_in

STAGES = [(requests, "erase_inputs"), (requests, "erase_rows"), (proof, "prove")]


@pytest.fixture
def attacked(own: Path, run: Run) -> Path:
    """Input and storage with everybody's photos and leftovers of killed and earlier runs."""
    write_photos(own / "input")
    with dg.DagsterInstance.get() as instance:
        run(
            own / "data",
            source=own / "input",
            instance=instance,
            ops={"pca_model": {"n_components": 5}},
        )
        for name in ODD_NAMES:
            shown = {
                "worst": f"photos/{name}/0.png",
                "labels": dg.MetadataValue.md(f"| {name} | 2 |"),
            }
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    "raw_images", description=f"photos/{name}/1.png", metadata=shown
                )
            )
    leave_litter(own / "data")
    return own


def leave_litter(data: Path) -> None:
    """Create files as left by killed processes."""
    raw = tables_in(data).current("raw_images").locations[0].path
    staged = data / PREFIXES["mobilenet_features"] / "_staged" / "f" / "part-1.parquet"
    scratch = data / "_scratch" / f"{socket.gethostname()}-4194304" / "blockmgr-1" / "rdd_0"
    for file in (staged, scratch, data / "staging" / "run-0" / "inputs.parquet"):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw, file)
    (data / PREFIXES["raw_images"] / ".part-half.parquet.1").write_bytes(
        Path(raw).read_bytes()[:-9]
    )


def counts_of(tables: Tables, asset: str) -> Counter[str]:
    """The number of rows per person."""
    paths = read_columns(tables.current(asset).locations, ["path"])["path"].to_pylist()
    return Counter(path.split("/")[1] for path in paths if path.startswith("photos/"))


def ask_for(folder: Path, names: tuple[str, ...]) -> None:
    source = Location.parse(str(folder / "input"))
    for name in names:
        target = Target.from_names(subject_in_tables(name, source))
        requests.store(tables_in(folder / "data"), target)


def erase_interrupted(folder: Path, instance: dg.DagsterInstance) -> None:
    """Run the job interrupted at each of its stages in turn, then completely."""
    for module, stage in STAGES:
        work: Callable[..., object] = getattr(module, stage)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, stage, _cut_off(work))
            assert not run_job(folder, instance=instance).success
    result = run_job(folder, instance=instance)
    assert result.success, error_of(result)


def _cut_off(work: Callable[..., object]) -> Callable[..., object]:
    calls = iter(range(100))

    def works_three_times(*arguments: object) -> object:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        return work(*arguments)

    return works_three_times


def test_forty_odd_people_are_erased_everywhere_and_nobody_else_is(
    attacked: Path, tmp_path: Path
) -> None:
    data, source, home = attacked / "data", attacked / "input", tmp_path / "dagster_home"
    outside = tmp_path / "document.txt"
    outside.write_text(MARKER)
    (source / "photos" / ODD_NAMES[1] / "link").symlink_to(outside)
    tables = tables_in(data)
    everybody = counts_of(tables, "raw_images")
    assert len(files_with(MARKER, data, source, home)) > len(ODD_NAMES)
    racing = tables.begin("raw_images", "racing")
    late = Path(tables.prefix("raw_images").path, "part-late.parquet")
    shutil.copy(tables.current("raw_images").locations[0].path, late)
    before = set(os.listdir(tempfile.gettempdir()))
    first = ODD_NAMES[::7]
    second = tuple(name for name in ODD_NAMES if name not in first)
    with dg.DagsterInstance.get() as instance:
        ask_for(attacked, first)
        erase_interrupted(attacked, instance)
        left = {name: count for name, count in everybody.items() if name not in first}
        for asset in ("raw_images", "mobilenet_features", "pca_components"):
            assert counts_of(tables, asset) == left, asset
        assert racing.before is not None
        with pytest.raises(ConcurrentWriteError):
            racing.commit(racing.before.statistics)
        ask_for(attacked, second)
        result = run_job(attacked, instance=instance)
        assert result.success, error_of(result)
    assert files_with(MARKER, data, source, home) == []
    new = set(os.listdir(tempfile.gettempdir())) - before
    assert files_with(MARKER, *(os.path.join(tempfile.gettempdir(), name) for name in new)) == []
    assert outside.read_text() == MARKER
    staying = dict.fromkeys(STAYING, 2) | {
        "ben-22c": everybody["ben-22c"],
        "anna-7f3": everybody["anna-7f3"],
    }
    for asset in ("raw_images", "mobilenet_features", "pca_components"):
        assert counts_of(tables, asset) == staying, asset
    for name, count in staying.items():
        assert len(os.listdir(source / "photos" / name)) >= count
