"""Each private Dagster name that the project uses behaves as expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from fruits_assets import dagster_internals
from fruits_assets.dagster_internals import (
    CheckRunHealthResult,
    WorkerStatus,
    cli_instance,
    extract_data_version_from_entry,
    grpc_command,
    grpc_server,
    raise_execution_interrupts,
    require_tested,
    run_step,
    runs_of_code_server,
    step_reference,
)
from spark_src.errors import SettingsError

PACKAGE = Path(dagster_internals.__file__).parent


def test_no_other_module_imports_private_names() -> None:
    private = re.compile(r"dagster\._|dagster_\w+\._")
    found = [
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if private.search(file.read_text(encoding="utf-8"))
    ]
    assert found == ["dagster_internals.py"]


@pytest.mark.parametrize("version", ["1.12.9", "1.14.0", "2.0.0"])
def test_an_untested_release_is_refused_with_the_remedy(version: str) -> None:
    with pytest.raises(SettingsError, match=r"uv sync --locked.*test_dagster_internals"):
        require_tested(version)


def test_the_locked_release_is_accepted() -> None:
    require_tested(dg.__version__)


class Referring(dg.StepLauncher):
    """Runs each step by its reference, in this process."""

    def launch_step(self, step_context: dg.StepExecutionContext) -> Any:
        events: list[Any] = []
        yield from run_step(step_reference(step_context), events.append)
        assert {event.run_id for event in events} == {step_context.run_id}


@dg.resource
def referring() -> Referring:
    return Referring()


@dg.op(required_resource_keys={"launcher"})
def far_answer() -> int:
    return 42


@dg.job(resource_defs={"launcher": referring}, executor_def=dg.in_process_executor)
def far_answers() -> None:
    far_answer()


@pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")
def test_a_step_runs_by_its_reference() -> None:
    job = dg.reconstructable(far_answers)
    with dg.instance_for_test() as instance, dg.execute_job(job, instance) as result:
        kinds = [event.event_type for event in result.events_for_node("far_answer")]
    assert kinds[-1] is dg.DagsterEventType.STEP_SUCCESS


def test_an_interrupt_is_raised_where_it_is_allowed() -> None:
    with raise_execution_interrupts():
        pass


def test_the_version_of_what_was_materialized_is_found() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        version = {"dagster/data_version": "7"}
        instance.report_runless_asset_event(dg.AssetMaterialization("one", tags=version))
        record = instance.get_latest_data_version_record(dg.AssetKey("one"))
        assert record is not None
        found = extract_data_version_from_entry(record.event_log_entry)
        assert found is not None and found.value == "7"


def test_a_command_gets_the_instance_of_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with cli_instance("test") as instance:
        assert instance.root_directory == str(tmp_path)


def test_the_code_server_looks_for_runs_whose_process_died() -> None:
    assert callable(grpc_server()._check_for_orphaned_runs)
    assert {option.name for option in grpc_command().params} >= {"port", "host", "heartbeat"}


def test_a_run_without_code_server_has_no_active_runs() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
        launcher = dg.DefaultRunLauncher()
        launcher.register_instance(instance)
        assert runs_of_code_server(launcher, run.run_id) is None


def test_the_health_of_a_run_has_the_fields_that_monitoring_reads() -> None:
    health = CheckRunHealthResult(WorkerStatus.NOT_FOUND, "gone")
    assert (health.status, health.msg) == (WorkerStatus.NOT_FOUND, "gone")
