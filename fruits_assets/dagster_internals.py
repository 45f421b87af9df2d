"""Every private name of Dagster's that the project uses; no other module imports one.

They may change in any release, so another one than was tested is refused, and each name has a test
(`tests/fruits_assets/test_dagster_internals.py`). What Dagster exports is imported from `dagster`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.data_version import extract_data_version_from_entry
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.execution.plan.external_step import (
    external_instance_from_step_run_ref,
    run_step_from_ref,
    step_context_to_step_run_ref,
)
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus

from spark_src.errors import SettingsError

if TYPE_CHECKING:
    from dagster._grpc.server import DagsterApiServer

TESTED = "1.13"
"""The series of releases whose private names were tried."""

__all__ = [
    "CheckRunHealthResult",
    "DagsterExecutionInterruptedError",
    "InstigatorState",
    "InstigatorStatus",
    "WorkerStatus",
    "automates_without_sensors",
    "cli_instance",
    "create_run",
    "extract_data_version_from_entry",
    "grpc_command",
    "grpc_server",
    "job_of_all_assets",
    "raise_execution_interrupts",
    "require_tested",
    "run_events",
    "run_step",
    "runs_of_code_server",
    "set_automation_paused",
    "step_reference",
]


def require_tested(version: str) -> None:
    """Refuse a release of Dagster whose private names nobody tried.

    Raises:
        SettingsError: it is another series than the one that was tested.
    """
    if version.split(".")[:2] != TESTED.split("."):
        raise SettingsError(
            f"This is Dagster {version}, and the project was tested with {TESTED}: it uses names "
            "of Dagster's that may change. Install what uv.lock says (`uv sync --locked`), or run "
            "tests/fruits_assets/test_dagster_internals.py with the new release and raise TESTED "
            "in fruits_assets/dagster_internals.py."
        )


require_tested(dg.__version__)


def step_reference(step_context: dg.StepExecutionContext) -> dg.StepRunRef:
    """What another process needs to run this step; each of its fields can be written as JSON."""
    return step_context_to_step_run_ref(step_context)


def run_step(step: dg.StepRunRef, listener: Callable[[dg.EventLogEntry], object]) -> list[Any]:
    """Run the step in this process.

    Args:
        step: what `step_reference` gave in the process of the run.
        listener: called with each event that the run's own instance has to get.

    Returns:
        The step's Dagster events.
    """
    instance = external_instance_from_step_run_ref(step, event_listener_fn=listener)
    events: Iterator[Any] = run_step_from_ref(step, instance)
    return list(events)


def cli_instance(command: str) -> AbstractContextManager[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, or one that ends with the command."""
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli

    return get_possibly_temporary_instance_for_cli(command)


def grpc_server() -> type[DagsterApiServer]:
    """The class of Dagster's code server."""
    from dagster._grpc.server import DagsterApiServer

    return DagsterApiServer


def grpc_command() -> Any:
    """The command `dagster api grpc`; called, it runs with this process's arguments."""
    from dagster._cli.api import grpc_command as command

    return command


def runs_of_code_server(launcher: dg.DefaultRunLauncher, run_id: str) -> list[str] | None:
    """The runs that the code server which started a run still has; None where there is none.

    Raises:
        DagsterUserCodeUnreachableError: it does not answer.
    """
    from dagster._grpc.types import GetCurrentRunsResult

    code_server = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
    if code_server is None:
        return None
    answer = dg.deserialize_value(code_server.get_current_runs(), GetCurrentRunsResult)
    return list(answer.current_runs)


def job_of_all_assets(module: str, name: str) -> Any:
    """A job of the definitions in a module, by the way to find it: step launchers need that.

    Args:
        module: has `defs`.
        name: of the job.
    """
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    # Dagster keeps the last definitions of a process, also when the settings were others.
    ReconstructableJob.get_repository_definition.cache_clear()
    ReconstructableJob.get_definition.cache_clear()
    pointer = ModuleCodePointer(module, "defs", None)
    repository = ReconstructableRepository(pointer, executable_path=sys.executable)
    return ReconstructableJob(repository, name)


def create_run(
    instance: dg.DagsterInstance,
    job: Any,
    keys: Collection[dg.AssetKey],
    config: Mapping[str, object],
    location: str,
) -> dg.DagsterRun:
    """A run that the UI shows under a code location, as one that it launched itself.

    Args:
        instance: gets the run.
        job: see `job_of_all_assets`.
        keys: the assets to make.
        config: the run config.
        location: the code location's name.
    """
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=job.repository.pointer.module
    )
    origin = ManagedGrpcPythonEnvCodeLocationOrigin(target, location)
    repository = RemoteRepositoryOrigin(origin, "__repository__")
    subset = job.get_subset(asset_selection=frozenset(keys))
    return instance.create_run_for_job(
        job_def=subset.get_definition(),
        run_config=config,
        asset_selection=frozenset(keys),
        remote_job_origin=repository.get_job_origin(job.job_name),
        job_code_origin=job.get_python_origin(),
    )


def run_events(
    job: Any, run: dg.DagsterRun, instance: dg.DagsterInstance
) -> Iterator[dg.DagsterEvent]:
    """Execute a run in this process; yield its events as they happen."""
    from dagster._core.execution.api import execute_run_iterator

    return execute_run_iterator(job, run, instance)


def automates_without_sensors(instance: dg.DagsterInstance) -> bool:
    """Whether Dagster's daemon itself, and not a sensor, materializes assets at present."""
    if instance.auto_materialize_use_sensors:
        return False
    from dagster._daemon.asset_daemon import get_auto_materialize_paused  # 0.2 s, seldom needed

    return not get_auto_materialize_paused(instance)


def set_automation_paused(instance: dg.DagsterInstance, paused: bool) -> None:
    """Switch that off or on."""
    from dagster._daemon.asset_daemon import set_auto_materialize_paused

    set_auto_materialize_paused(instance, paused)
