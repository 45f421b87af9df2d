"""A full run that is killed leaves the tables unchanged, and its finished work is reused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from PIL import Image

from fruits_assets.checks.run_checks import Outcome
from spark_src.contract import PREFIXES
from spark_src.tables.delta import Snapshot

COMMAND = ["-m", "dagster", "asset", "materialize", "-m", "fruits_assets.definitions"]
PATIENCE_SECONDS = 300
OF_TURNED_PICTURES = {
    "pca_components:variance_is_explained",
    "pca_components:new_images_are_familiar",
    "data_health:no_picture_in_two_splits",  # a rotated copy resembles its original
}
"""Checks that may fail for these pictures, whether a run was killed or not."""

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Snapshot]
Digests = Callable[[Path], dict[str, str]]
Check = Callable[[Path], dict[str, Outcome]]


@pytest.fixture
def kill_in(copied: Path, tmp_path: Path) -> Callable[[str, Path], None]:
    """Kill a full run and its child processes once it has written a new file of an asset."""

    def kill(asset: str, source: Path) -> None:
        folder = copied / PREFIXES[asset]
        before = set(folder.glob("part-*"))
        settings = {"FRUITS_INPUT": str(source), "FRUITS_STORAGE": str(copied)}
        log = tmp_path / "run.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *COMMAND, "--select", "raw_images*"],
                env=os.environ | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not set(folder.glob("part-*")) - before:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            assert process.poll() is None, log.read_text()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert f"{asset} is stored" not in log.read_text()

    return kill


@pytest.fixture
def new_pictures(sample: Path, tmp_path: Path) -> Path:
    """720 pictures with new content."""
    folder = tmp_path / "input"
    for picture in sorted(sample.rglob("*.jpg")):
        target = folder / picture.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(picture) as image:
            for angle in (90, 180, 270):
                turned = target.with_stem(f"{picture.stem}-{angle}")
                image.rotate(angle).save(turned, "JPEG", quality=90)
    return folder


def test_features_finished_by_a_killed_run_are_not_computed_again(
    *,
    copied: Path,
    new_pictures: Path,
    kill_in: Callable[[str, Path], None],
    run: Run,
    current: Current,
    digests: Digests,
    check: Check,
) -> None:
    before = {asset: current(copied, asset) for asset in ("mobilenet_features", "csv_export")}
    files = digests(copied)

    kill_in("mobilenet_features", new_pictures)

    assert current(copied, "raw_images").rows == 720
    assert {asset: current(copied, asset) for asset in before} == before
    assert files.items() <= digests(copied).items()

    with dg.DagsterInstance.ephemeral() as instance:
        result = run(copied, "mobilenet_features*", source=new_pictures, instance=instance)
        messages = " ".join(event.user_message for event in instance.all_logs(result.run_id))
    found = re.search(r"720 images: (\d+) different .* 0 carried over, (\d+) done by an", messages)
    assert found, messages
    computed, resumed = map(int, found.groups())
    assert computed + resumed == 720
    assert 0 < resumed < 720
    failing = {name for name, outcome in check(copied).items() if outcome.verdict != "passes"}
    assert failing <= OF_TURNED_PICTURES


def test_a_run_killed_during_ingest_leaves_both_tables_and_the_next_completes_them(
    *,
    copied: Path,
    copy_pictures: Callable[..., Path],
    tmp_path: Path,
    kill_in: Callable[[str, Path], None],
    run: Run,
    current: Current,
    digests: Digests,
    read: Callable[..., pa.Table],
) -> None:
    source = copy_pictures(tmp_path / "input", 240, copies=10)
    before = {asset: current(copied, asset) for asset in ("raw_images", "rejected_images")}
    rows, files = read(copied, "raw_images"), digests(copied)

    kill_in("raw_images", source)

    assert {asset: current(copied, asset) for asset in before} == before
    assert read(copied, "raw_images") == rows
    assert files.items() <= digests(copied).items()

    result = run(copied, "raw_images", source=source)
    assert [e.check_name for e in result.get_asset_check_evaluations() if not e.passed] == []
    paths = sorted(str(picture.relative_to(source)) for picture in source.rglob("*.jpg"))
    assert read(copied, "raw_images")["path"].to_pylist() == paths
