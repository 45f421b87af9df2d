"""Spark's scratch folder: private, and cleared of folders of ended processes."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

from spark_src.spark.scratch import make_scratch


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    own = make_scratch(tmp_path / "data" / "_scratch")

    for folder in (own, own.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folders_of_ended_processes_are_deleted(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"{socket.gethostname()}-{ended.pid}" / "blockmgr-1" / "0c"
    left.mkdir(parents=True)
    (left / "shuffle_0_0_0.data").write_bytes(b"a photo")

    make_scratch(tmp_path)

    assert not left.exists()


def test_folders_of_other_machines_and_running_processes_are_kept(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere-1"
    living = tmp_path / f"{socket.gethostname()}-1"  # process 1 is always running
    for folder in (elsewhere, living):
        folder.mkdir()

    make_scratch(tmp_path)

    assert elsewhere.exists()
    assert living.exists()


def test_a_process_deletes_its_folder_at_exit(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from spark_src.spark.scratch import make_scratch\n"
        f"(make_scratch(Path({str(tmp_path)!r})) / 'spilled').write_text('x')\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)

    assert list(tmp_path.iterdir()) == []
