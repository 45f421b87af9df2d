"""The services of infra/host/compose.yaml as local processes, with the same files and commands."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.host.postgres import Postgres, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = REPOSITORY / "infra" / "host"
TIMEOUT_SECONDS = 300
"""Timeout in seconds on a busy machine."""

LAUNCHED = """{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } }"""
LAUNCH = f"""mutation ($params: ExecutionParams!) {{
  launchRun(executionParams: $params) {LAUNCHED} }}"""
REEXECUTE = f"""mutation ($params: ReexecutionParams!) {{
  launchRunReexecution(reexecutionParams: $params) {LAUNCHED} }}"""
LOCATIONS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"


class TeamHost:
    """PostgreSQL, code server, daemon and webserver."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.postgres = postgres
        self.storage = folder / "data"
        self._home = folder / "home"
        self._home.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copyfile(HOST / name, self._home / name)
        self._code_port, self._port = free_port(), free_port()
        kept = {name: value for name, value in os.environ.items() if "FRUITS_" not in name}
        self._environment = kept | postgres.variables
        self._environment |= {
            "DAGSTER_HOME": str(self._home),
            "DAGSTER_LOGS": str(folder / "logs"),
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "DAGSTER_CODE_PORT": str(self._code_port),
            "FRUITS_STORAGE": str(self.storage),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.start_code_server()
        self._start("limits")
        assert self._processes.pop("limits").wait() == 0, self.logs()
        self._start("daemon")
        self._start("webserver")
        self.wait_for("the code location", self._answers)

    def start_code_server(self) -> None:
        self._start("code")

    def kill_code_server(self) -> None:
        """Kill the code server and its runs, which are processes of its container."""
        os.killpg(self._processes["code"].pid, signal.SIGKILL)
        self._processes.pop("code").wait()

    @property
    def port(self) -> int:
        """The webserver's port."""
        return self._port

    def stop(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def launch(self, *assets: str) -> str:
        """Submit a run of these assets (all by default) like the UI does."""
        selector = {
            "repositoryLocationName": "fruits",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets] or None,
        }
        return self._launched("launchRun", LAUNCH, {"selector": selector})

    def reexecute(self, run_id: str) -> str:
        """Re-execute the run like the UI's button does."""
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS"}
        return self._launched("launchRunReexecution", REEXECUTE, params)

    def status(self, run_id: str) -> str:
        return str(self.postgres.query("select status from runs where run_id = %s", run_id)[0][0])

    def times(self, run_id: str) -> tuple[float, float]:
        """When the run started and ended, in seconds."""
        sql = "select start_time, end_time from runs where run_id = %s"
        started, ended = self.postgres.query(sql, run_id)[0]
        return started, ended

    def events(self, run_id: str, kind: str = "%") -> list[str]:
        """The run's events of a type from PostgreSQL, as JSON, oldest first."""
        sql = """select event from event_logs
            where run_id = %s and coalesce(dagster_event_type, '') like %s order by id"""
        return [event for (event,) in self.postgres.query(sql, run_id, kind)]

    def worker(self, run_id: str) -> int:
        """The process of the run."""
        found = re.search(r"Started process for run \(pid: (\d+)\)", "".join(self.events(run_id)))
        assert found
        return int(found.group(1))

    def wait_for_featurizing(self, run_id: str) -> None:
        """Wait until features are being computed, when no event is stored for several seconds."""

        def computes() -> bool:
            assert self.status(run_id) not in {"SUCCESS", "FAILURE"}, self.events(run_id)
            return "different pictures to compute" in "".join(self.events(run_id))

        self.wait_for("the features", computes)

    def wait_for_end(self, run_id: str) -> str:
        self.wait_for("a run's end", lambda: self.status(run_id) in {"SUCCESS", "FAILURE"})
        return self.status(run_id)

    def wait_for(
        self, what: str, condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"Timed out waiting for {what}.\n{self.logs()}"
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended.\n{self.logs()}"
            time.sleep(0.2)

    def log(self, service: str) -> str:
        """The output of a service."""
        return (self.folder / f"{service}.log").read_text()

    def logs(self) -> str:
        """The last output of each service."""
        names = sorted(file.stem for file in self.folder.glob("*.log"))
        return "\n".join(f"{name}:\n{self.log(name)[-3000:]}" for name in names)

    def _start(self, service: str) -> None:
        own = {
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=3000": f"--port={self._port}",
            "--port=4000": f"--port={self._code_port}",
        }
        home = str(self._home)
        compose = yaml.safe_load((HOST / "compose.yaml").read_text())
        command, *given = compose["services"][service]["command"]
        arguments = [own.get(one, one).replace("/opt/dagster/home", home) for one in given]
        with (self.folder / f"{service}.log").open("a") as log:
            self._processes[service] = subprocess.Popen(
                [Path(sys.executable).with_name(command), *arguments],
                env=self._environment,
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return bool(self._graphql(LOCATIONS)["repositoriesOrError"].get("nodes"))
        return False

    def _launched(self, field: str, mutation: str, params: dict[str, Any]) -> str:
        answer = self._graphql(mutation, params=params)[field]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def _graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        content = {"query": query, "variables": variables}
        url = f"http://127.0.0.1:{self._port}/graphql"
        answer = requests.post(url, json=content, timeout=60).json()
        assert "errors" not in answer, answer
        return dict(answer["data"])
