"""Launches runs on a shared host like Dagster's default launcher, and monitors their health."""

from __future__ import annotations

import dagster as dg

from fruits_assets.dagster_internals import (
    CheckRunHealthResult,
    WorkerStatus,
    runs_of_code_server,
)


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Starts each run as a process of the code server, and reports whether it is still running.

    Run monitoring needs this. The default launcher does not support it, so a run that died with
    its code server (a reboot, out of memory) would stay "started" forever.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Query the run's code server for its active runs.

        Raises:
            DagsterUserCodeUnreachableError: it does not answer; monitoring tries again.
        """
        current = runs_of_code_server(self, run.run_id)
        if current is None:
            # It has ended, or started in a shell. Its health is unknown, so assume it is running.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "No code server has this run.")
        if run.run_id in current:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND,
            "The code server no longer has this run: it was restarted, and the run's process ended "
            "with it. The assets keep their previous versions; re-execute the run.",
        )
