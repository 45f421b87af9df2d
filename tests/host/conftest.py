"""A shared host, started once, with fixtures for runs submitted to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.host.postgres import Postgres, binary
from tests.host.team_host import TeamHost


@pytest.fixture(scope="session")
def team_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamHost]:
    binary("initdb")  # first of all, because these tests are skipped without it
    postgres = Postgres()
    host = TeamHost(tmp_path_factory.mktemp("team_host"), postgres)
    try:
        host.start()
        yield host
    finally:
        host.stop()
        postgres.remove()


@dataclass(frozen=True)
class TwoRuns:
    """Two concurrent runs with features; PostgreSQL was restarted during the features."""

    whole: str
    second: str
    second_meanwhile: str
    restarted_at: float


@pytest.fixture(scope="session")
def two_runs(team_host: TeamHost) -> TwoRuns:
    whole, second = team_host.launch(), team_host.launch("mobilenet_features")
    team_host.wait_for_featurizing(whole)
    meanwhile = team_host.status(second)
    team_host.postgres.stop()
    team_host.postgres.start()
    restarted_at = time.time()
    team_host.wait_for_end(whole)
    return TwoRuns(whole, second, meanwhile, restarted_at)


@pytest.fixture(scope="session")
def killed_while_the_database_was_down(team_host: TeamHost, two_runs: TwoRuns) -> str:
    """A run whose process was killed while PostgreSQL was down."""
    team_host.wait_for("its start", lambda: team_host.status(two_runs.second) == "STARTED")
    worker = team_host.worker(two_runs.second)
    team_host.postgres.stop()
    os.kill(worker, signal.SIGKILL)
    try:
        team_host.wait_for(
            "the code server to find it",
            lambda: "could not be stored yet" in team_host.log("code"),
            40,
        )
    finally:
        team_host.postgres.start()
    return two_runs.second


@pytest.fixture(scope="session")
def killed_with_its_code_server(
    team_host: TeamHost, killed_while_the_database_was_down: str
) -> str:
    """A run whose process ended with the code server, as after a reboot."""
    team_host.wait_for_end(killed_while_the_database_was_down)
    run = team_host.reexecute(killed_while_the_database_was_down)
    team_host.wait_for("its start", lambda: team_host.status(run) == "STARTED")
    team_host.kill_code_server()
    team_host.start_code_server()
    return run
