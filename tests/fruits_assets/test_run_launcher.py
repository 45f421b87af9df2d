"""The reported health of a run that no code server has (other tests: tests/host/)."""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test

from fruits_assets.host.run_launcher import WatchedRunLauncher


def test_a_run_started_from_a_shell_is_not_reported_as_dead() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
        launcher = WatchedRunLauncher()
        launcher.register_instance(instance)
        assert launcher.supports_check_run_worker_health
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
