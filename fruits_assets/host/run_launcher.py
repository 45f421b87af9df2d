"""Launches the runs of a team's host as Dagster's own launcher does, and sees whether they live."""

from __future__ import annotations

import dagster as dg

from fruits_assets.dagster_internals import (
    CheckRunHealthResult,
    WorkerStatus,
    runs_of_code_server,
)


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Starts each run as a process of the code server, and can say whether it is still there.

    Run monitoring asks for that. The stock launcher has no answer, so that a run whose code
    server died with it (a reboot, a full memory) would stay "started" for ever.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the run's code server for the runs that it has.

        Raises:
            DagsterUserCodeUnreachableError: it does not answer; monitoring asks again.
        """
        current = runs_of_code_server(self, run.run_id)
        if current is None:
            # Ended by now, or started by hand from a shell: nobody can tell, and it may be well.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "No code server has this run.")
        if run.run_id in current:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND,
            "The code server does not have this run any more: it was restarted, and the run's "
            "process ended with it. What was current before the run still is; re-execute it.",
        )
