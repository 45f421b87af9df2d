"""`dagster dev` as in the README, on a free port, with separate records and storage."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 120
"""Timeout of the start, sufficient for a busy machine."""


class DagsterDev:
    """The UI, the daemon, the code server and the runs, as one process group."""

    def __init__(self, folder: Path) -> None:
        home = folder / "home"
        home.mkdir()
        shutil.copyfile(REPOSITORY / ".dagster" / "dagster.yaml", home / "dagster.yaml")
        kept = {name: value for name, value in os.environ.items() if "FRUITS_" not in name}
        own = {"DAGSTER_HOME": str(home), "FRUITS_STORAGE": str(folder / "data")}
        self._log = folder / "dagster_dev.log"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("dagster"),
                    "dev",
                    "--host=127.0.0.1",
                    f"--port={port}",
                ],
                env=kept | own,
                cwd=REPOSITORY,  # where workspace.yaml is
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the UI responds."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self._responds():
            assert self._process.poll() is None, f"dagster dev ended.\n{self.log()}"
            assert time.monotonic() < deadline, f"dagster dev does not respond.\n{self.log()}"
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it and all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def log(self) -> str:
        """The last part of its output."""
        return self._log.read_text()[-5000:]

    def _responds(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/server_info", timeout=10).ok
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
