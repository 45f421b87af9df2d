"""No run is in progress during an erasure, and none is started automatically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.asset_daemon import get_auto_materialize_paused, set_auto_materialize_paused
from pyspark.sql import SparkSession

from fruits_assets import erasure_job
from fruits_assets.erasure_job import JOB, require_no_run
from fruits_assets.records.pause import AUTOMATION, pause, paused
from spark_src.erasure import requests
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.fruits_assets.erasure.pipeline import SUBJECT, add_run, run_job


@pytest.mark.parametrize("status", erasure_job.IN_PROGRESS)
@pytest.mark.parametrize("assets", [(), ("raw_images", "of_another_team")])
def test_erasing_is_refused_while_a_run_is_queued_or_in_progress(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, assets: Sequence[str]
) -> None:
    run_id = add_run(instance, "__ASSET_JOB", status, assets)
    with pytest.raises(ErasureError, match=rf"{run_id[:8]} .*dagster run delete RUN_ID"):
        require_no_run(instance)


def test_runs_that_cannot_write_data_back_do_not_block_erasing(
    instance: dg.DagsterInstance,
) -> None:
    started = dg.DagsterRunStatus.STARTED
    add_run(instance, JOB, started)
    add_run(instance, "__ASSET_JOB", dg.DagsterRunStatus.FAILURE)
    add_run(instance, "__ASSET_JOB", started, ["of_another_team"])
    add_run(instance, "nightly", started, location="another_team")
    require_no_run(instance)


def add_sensor(
    instance: dg.DagsterInstance, name: str, status: InstigatorStatus, location: str = "fruits"
) -> InstigatorState:
    """A sensor's state as stored by the UI and the daemon."""
    target = LoadableTargetOrigin(module_name="fruits_assets.definitions")
    code_location = InProcessCodeLocationOrigin(target, location_name=location)
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(code_location, "__repository__"), instigator_name=name
    )
    data = SensorInstigatorData(sensor_type=SensorType.STANDARD)
    return instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, status, data)
    )


def statuses(instance: dg.DagsterInstance) -> dict[str, InstigatorStatus]:
    return {state.name: state.status for state in instance.all_instigator_state()}


@pytest.fixture
def with_sensors(instance: dg.DagsterInstance) -> dict[str, InstigatorStatus]:
    add_sensor(instance, "new_pictures", InstigatorStatus.RUNNING)
    add_sensor(instance, "default_automation_condition_sensor", InstigatorStatus.DECLARED_IN_CODE)
    add_sensor(instance, "switched_off_by_somebody", InstigatorStatus.STOPPED)
    add_sensor(instance, "of_another_team", InstigatorStatus.RUNNING, "another_team")
    return statuses(instance)


def test_sensor_and_automation_are_paused_during_an_erasure(
    instance: dg.DagsterInstance, with_sensors: dict[str, InstigatorStatus]
) -> None:
    with paused(instance) as names:
        assert names == ["default_automation_condition_sensor", "new_pictures"]
        meanwhile = statuses(instance)
        running = {name for name, status in meanwhile.items() if status.value != "STOPPED"}
        assert running == {"of_another_team"}
    assert statuses(instance) == with_sensors


def test_sensor_and_automation_are_resumed_after_a_failure(
    instance: dg.DagsterInstance, with_sensors: dict[str, InstigatorStatus]
) -> None:
    with pytest.raises(OSError, match="disk"), paused(instance):
        raise OSError("disk full")
    assert statuses(instance) == with_sensors


def test_the_next_erasure_resumes_what_a_killed_one_had_paused(
    instance: dg.DagsterInstance, with_sensors: dict[str, InstigatorStatus]
) -> None:
    pause(instance)
    with paused(instance) as names:
        assert names == ["default_automation_condition_sensor", "new_pictures"]
    assert statuses(instance) == with_sensors


def test_automation_without_sensors_is_paused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("auto_materialize:\n  use_sensors: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        set_auto_materialize_paused(instance, paused=False)
        with paused(instance) as names:
            assert names == [AUTOMATION]
            assert get_auto_materialize_paused(instance)
        assert not get_auto_materialize_paused(instance)


def test_the_job_itself_pauses_and_resumes_them(
    own: Path,
    spark: SparkSession,
    instance: dg.DagsterInstance,
    with_sensors: dict[str, InstigatorStatus],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spark.getActiveSession() is not None
    seen = []
    work = requests.erase_inputs

    def fails(tables: Tables, source: Location, request: requests.Request) -> int:
        seen.append(statuses(instance)["new_pictures"])
        work(tables, source, request)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(requests, "erase_inputs", fails)
    result = run_job(own, Target.from_names(SUBJECT), instance)
    assert not result.success
    assert seen == [InstigatorStatus.STOPPED]
    assert statuses(instance) == with_sensors
