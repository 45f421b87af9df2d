"""All private Dagster names that the project uses; no other module imports any.

They may change in any release, so untested releases are refused, and each name has a test
(`tests/fruits_assets/test_dagster_internals.py`). Public names are imported from `dagster`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.data_version import (
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    extract_data_version_from_entry,
)
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.execution.plan.external_step import (
    external_instance_from_step_run_ref,
    run_step_from_ref,
    step_context_to_step_run_ref,
)
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

from spark_src.errors import SettingsError

if TYPE_CHECKING:
    from dagster._grpc.server import DagsterApiServer

TESTED = "1.13"
"""The release series that the private names were tested with."""

__all__ = [
    "DEFAULT_DATA_VERSION",
    "NULL_EVENT_POINTER",
    "CheckRunHealthResult",
    "DagsterExecutionInterruptedError",
    "InstigatorState",
    "InstigatorStatus",
    "NoOpComputeLogManager",
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
    """Refuse an untested release of Dagster.

    Raises:
        SettingsError: the release is not of the tested series.
    """
    if version.split(".")[:2] != TESTED.split("."):
        raise SettingsError(
            f"This is Dagster {version}, but the project was tested with {TESTED} and uses private "
            "names that may change. Install the locked version (`uv sync --locked`), or run "
            "tests/fruits_assets/test_dagster_internals.py with the new release and raise TESTED "
            "in fruits_assets/dagster_internals.py."
        )


require_tested(dg.__version__)


def step_reference(step_context: dg.StepExecutionContext) -> dg.StepRunRef:
    """The reference that another process needs to run this step; all fields are serializable."""
    return step_context_to_step_run_ref(step_context)


def run_step(step: dg.StepRunRef, listener: Callable[[dg.EventLogEntry], object]) -> list[Any]:
    """Run the step in this process.

    Args:
        step: the result of `step_reference` in the process of the run.
        listener: called with each event that has to reach the run's instance.

    Returns:
        The step's Dagster events.
    """
    instance = external_instance_from_step_run_ref(step, event_listener_fn=listener)
    events: Iterator[Any] = run_step_from_ref(step, instance)
    return list(events)


def cli_instance(command: str) -> AbstractContextManager[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, or a temporary one without DAGSTER_HOME."""
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli

    return get_possibly_temporary_instance_for_cli(command)


def grpc_server() -> type[DagsterApiServer]:
    """The class of Dagster's code server."""
    from dagster._grpc.server import DagsterApiServer

    return DagsterApiServer


def grpc_command() -> Any:
    """The command `dagster api grpc`; calling it uses this process's arguments."""
    from dagster._cli.api import grpc_command as command

    return command


def runs_of_code_server(launcher: dg.DefaultRunLauncher, run_id: str) -> list[str] | None:
    """The active runs of the code server that started a run; None without such a server.

    Raises:
        DagsterUserCodeUnreachableError: the server does not answer.
    """
    from dagster._grpc.types import GetCurrentRunsResult

    code_server = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
    if code_server is None:
        return None
    answer = dg.deserialize_value(code_server.get_current_runs(), GetCurrentRunsResult)
    return list(answer.current_runs)


def job_of_all_assets(module: str, name: str) -> Any:
    """A reconstructable job, as step launchers need it.

    Args:
        module: the module with `defs`.
        name: the job's name.
    """
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    # Dagster caches the definitions of a process, even if the settings change.
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
    """Create a run that the UI lists under a code location, like the runs it launches itself.

    Args:
        instance: stores the run.
        job: see `job_of_all_assets`.
        keys: the assets to materialize.
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
    """Execute a run in this process and yield its events."""
    from dagster._core.execution.api import execute_run_iterator

    return execute_run_iterator(job, run, instance)


def automates_without_sensors(instance: dg.DagsterInstance) -> bool:
    """Whether Dagster's daemon, rather than a sensor, currently materializes assets."""
    if instance.auto_materialize_use_sensors:
        return False
    from dagster._daemon.asset_daemon import (
        get_auto_materialize_paused,
    )  # takes 0.2 s and is rarely needed

    return not get_auto_materialize_paused(instance)


def set_automation_paused(instance: dg.DagsterInstance, paused: bool) -> None:
    """Pause or resume the daemon's automation."""
    from dagster._daemon.asset_daemon import set_auto_materialize_paused

    set_auto_materialize_paused(instance, paused)
