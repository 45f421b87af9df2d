"""The step launcher for EMR: launches a step, follows it, and explains failures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from fruits_assets.dagster_internals import raise_execution_interrupts, step_reference
from fruits_assets.emr import cluster, code_package, submission
from fruits_assets.emr.event_relay import EventRelay
from fruits_assets.emr.step_definition import StepDefinition
from fruits_assets.emr.step_logs import (
    EMR_LOG_SECONDS,
    ExecutorWarnings,
    explain_failure,
    find_log_uri,
)
from fruits_assets.emr.submission import PYTHON, StepFiles, StepState
from spark_src.contract import FOLDERS
from spark_src.errors import AwsError, ClusterError
from spark_src.io.locations import Location

STAGING = FOLDERS["staging"]
"""The folder in the storage for files exchanged with the cluster."""

_LAUNCHES = 3
"""Maximum launches, as a cluster may terminate between being ready and accepting the step."""

_TRANSIENT = frozenset(
    {
        *("ThrottlingException", "Throttling", "SlowDown", "RequestLimitExceeded"),
        *("InternalFailure", "InternalServerException", "InternalServerError"),
        *("ServiceUnavailable", "NoNetwork", "NetworkConnection", "ConnectTimeoutError"),
        *("ReadTimeoutError", "ConnectionClosedError"),
    }
)
"""AWS error codes that do not indicate a failed step."""


@dataclass(frozen=True)
class Polling:
    """How often a step is polled: with growing intervals."""

    first_seconds: float = 1
    longest_seconds: float = 15
    growth: float = 1.3
    unanswered_seconds: float = 600
    """How long polling may fail before the run gives up on the step."""
    log_seconds: float = EMR_LOG_SECONDS
    """How long to wait for EMR's own log."""


@dataclass(frozen=True)
class LaunchedStep:
    """A step that was added to a cluster."""

    context: dg.StepExecutionContext
    cluster_id: str
    step_id: str
    files: StepFiles


class FruitsStepLauncher(dg.StepLauncher):
    """Launches steps on the cluster with this name."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        cluster_name: str,
        region: str,
        storage: Location,
        settings: Mapping[str, str],
        spark_config: Mapping[str, str],
        polling: Polling | None = None,
    ) -> None:
        self.cluster_name = cluster_name
        self.region = region
        self.storage = storage
        self.settings = dict(settings)
        self.spark_config = dict(spark_config)
        self.polling = polling or Polling()

    def launch_step(self, step_context: dg.StepExecutionContext) -> Iterator[dg.DagsterEvent]:
        """Run the step on the cluster and yield its events."""
        launched = self._launch(step_context)
        log = step_context.log
        try:
            log.info(
                f"EMR step {launched.step_id} on cluster {self.cluster_name} "
                f"({launched.cluster_id})"
            )
            yield from self.follow(launched)
        except ClusterError:  # the step has ended by itself
            raise
        except BaseException:  # otherwise the step would keep running and be billed
            log.info(submission.cancel_step(launched.cluster_id, launched.step_id, self.region))
            raise

    def _launch(self, context: dg.StepExecutionContext) -> LaunchedStep:
        staging, package = self.storage / STAGING, code_package.build()
        code = code_package.push(staging / "code", self.region, package)
        key, attempt = context.step.key, context.previous_attempt_count
        files = StepFiles.for_attempt(staging, context.run_id, key, attempt)
        definition = StepDefinition.for_step(self.settings, step_reference(context))
        sha256 = submission.put_definition(files, definition, self.region)
        name = f"fruits {key} of run {context.run_id[:8]}"
        step = submission.step_config(
            name, files, sha256, code, package, self.region, self.spark_config
        )
        for _ in range(_LAUNCHES):
            found = cluster.ensure_ready(
                self.cluster_name, self.region, context.log.info, storage=self.storage
            )
            if step_id := submission.add_step(found, step, self.region):
                return LaunchedStep(context, found, step_id, files)
            context.log.info(f"Cluster {found} terminated before it accepted the step")
        raise ClusterError(
            f"Cluster {self.cluster_name} terminated {_LAUNCHES} times before it accepted a step. "
            "Check its idle timeout, and the reason for its termination in EMR's console, then "
            "materialize again."
        )

    def follow(self, launched: LaunchedStep) -> Iterator[dg.DagsterEvent]:
        """Yield events until the step has ended."""
        context, files = launched.context, launched.files
        relay = EventRelay(context, files, self.cluster_name, self.region)
        warnings = ExecutorWarnings(files, self.region)
        before, pause = "", self.polling.first_seconds
        answered = time.monotonic()
        while True:
            with raise_execution_interrupts():
                time.sleep(pause)
            pause = min(pause * self.polling.growth, self.polling.longest_seconds)
            try:
                # The cluster first, because it may terminate right after its last step.
                now = cluster.describe(launched.cluster_id, self.region)
                step = submission.describe_step(now.id, launched.step_id, self.region)
                if step.state != before:
                    context.log.info(f"EMR step {launched.step_id} is {step.state}")
                    before = step.state
                yield from relay.new_events()
                for line in warnings.new():
                    context.log.warning(f"Spark on the cluster: {line}")
            except AwsError as error:
                if not self._is_transient(error, answered):
                    raise
                context.log.warning(f"{error} The step continues and is polled again.")
                continue
            answered = time.monotonic()
            if step.state == "COMPLETED" or (step.has_failed and relay.has_failed):
                return  # if it failed, an event has reported the reason
            self._require_alive(launched, step, now)

    def _is_transient(self, error: AwsError, answered: float) -> bool:
        silent = time.monotonic() - answered
        return error.code in _TRANSIENT and silent < self.polling.unanswered_seconds

    def _require_alive(
        self, launched: LaunchedStep, step: StepState, now: cluster.ClusterState
    ) -> None:
        """Raise an error if the step or its cluster has ended."""
        reason = step.reason
        if not step.has_failed:
            if now.state in cluster.LIVING:
                return
            reason = (
                f"The cluster is {now.state}: {now.reason or 'EMR gives no reason'}. "
                "Materialize again: an identical cluster is started, and nothing is lost."
            )
        explanation = explain_failure(
            launched.files,
            find_log_uri(now.id, launched.step_id, self.region),
            step,
            self.region,
            launched.context.log.info,
            timeout_seconds=self.polling.log_seconds,
        )
        raise ClusterError(
            f"EMR step {launched.step_id} on cluster {self.cluster_name} ({now.id}) is "
            f"{step.state}. {reason}\n{explanation}"
        )


def launched_spark_config(config: Mapping[str, str], region: str) -> dict[str, str]:
    """The Spark config of a step: the given one, with the packed environment's Python."""
    return dict(config) | {
        "spark.pyspark.python": PYTHON,
        "spark.pyspark.driver.python": PYTHON,
        "spark.executorEnv.AWS_DEFAULT_REGION": region,
        # With dynamic allocation, Spark would otherwise replace failing executors forever.
        "spark.executor.maxNumFailures": "12",
        "spark.executor.failuresValidityInterval": "15m",
    }
