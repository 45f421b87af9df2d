"""The shared host: run queue, run monitoring and PostgreSQL."""

from __future__ import annotations

import json

from fruits_assets.failures import OPS
from spark_src.contract import PREFIXES
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.host.conftest import TwoRuns
from tests.host.team_host import TeamHost


def test_a_queued_run_materializes_the_graph_and_stores_its_events_in_postgresql(
    team_host: TeamHost, two_runs: TwoRuns
) -> None:
    assert team_host.status(two_runs.whole) == "SUCCESS", team_host.events(two_runs.whole)
    for kind in ("PIPELINE_ENQUEUED", "PIPELINE_STARTING", "PIPELINE_SUCCESS"):
        assert len(team_host.events(two_runs.whole, kind)) == 1
    tables = Tables(Location.parse(str(team_host.storage)))
    assert tables.current("csv_export").statistics.rows == 240


def test_restarting_postgresql_during_a_run_loses_nothing(
    team_host: TeamHost, two_runs: TwoRuns
) -> None:
    started, ended = team_host.times(two_runs.whole)
    assert started < two_runs.restarted_at < ended

    def count(kind: str) -> int:
        return len(team_host.events(two_runs.whole, kind))

    assert count("ASSET_MATERIALIZATION") == count("ASSET_MATERIALIZATION_PLANNED")
    assert count("ASSET_MATERIALIZATION") == len(PREFIXES)
    assert count("ASSET_CHECK_EVALUATION") == count("ASSET_CHECK_EVALUATION_PLANNED") > 0
    assert count("STEP_SUCCESS") == count("STEP_START") > len(OPS)


def test_the_second_of_two_runs_with_features_waits_for_the_first(
    team_host: TeamHost, two_runs: TwoRuns
) -> None:
    team_host.wait_for("its start", lambda: bool(team_host.times(two_runs.second)[0]))
    assert two_runs.second_meanwhile == "QUEUED"
    assert team_host.times(two_runs.second)[0] > team_host.times(two_runs.whole)[1]


def test_a_run_killed_while_the_database_was_down_is_marked_failed(
    team_host: TeamHost, killed_while_the_database_was_down: str
) -> None:
    assert team_host.wait_for_end(killed_while_the_database_was_down) == "FAILURE"
    events = "".join(team_host.events(killed_while_the_database_was_down))
    assert "terminated by signal 9 (SIGKILL)" in events


def test_a_run_whose_code_server_died_with_it_is_marked_failed_and_its_reexecution_succeeds(
    team_host: TeamHost, killed_with_its_code_server: str
) -> None:
    assert team_host.wait_for_end(killed_with_its_code_server) == "FAILURE"
    (failure,) = team_host.events(killed_with_its_code_server, "PIPELINE_FAILURE")
    message = json.loads(failure)["dagster_event"]["message"]
    assert "no longer has this run" in message
    assert "re-execute the run" in message

    again = team_host.reexecute(killed_with_its_code_server)

    assert team_host.wait_for_end(again) == "SUCCESS", team_host.events(again)
    assert len(team_host.events(again, "ASSET_MATERIALIZATION")) == 1


def test_a_dump_of_postgresql_restores_every_run_and_event(
    team_host: TeamHost, two_runs: TwoRuns
) -> None:
    assert team_host.status(two_runs.whole) == "SUCCESS"
    postgres = team_host.postgres
    postgres.restore(postgres.dump(), "restored")
    counts = """select count(*), (select count(*) from runs where run_id = %s) from event_logs
        where run_id = %s"""
    values = (two_runs.whole, two_runs.whole)
    assert postgres.query(counts, *values, database="restored") == postgres.query(counts, *values)
