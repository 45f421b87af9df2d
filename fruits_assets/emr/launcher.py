"""Runs a step of a run on the EMR cluster: dagster-aws's launcher without its faults.

What the stock class does well it still does here; each method that is replaced says why.
"""

import gzip
import pickle
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.execution.plan.external_step import (
    PICKLED_STEP_RUN_REF_FILE_NAME,
    step_context_to_step_run_ref,
)
from dagster_aws.emr.pyspark_step_launcher import EmrPySparkStepLauncher

from fruits_assets import provenance
from fruits_assets.emr import cluster, code_package, step_main
from spark_src.contract import ENVIRONMENT_PATH, FOLDERS
from spark_src.errors import AwsError, ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

STAGING = FOLDERS["staging"]
"""The folder under the storage for what travels to the cluster and back."""

_LAST_LINES = 30


@dataclass(frozen=True)
class Polling:
    """How often a step is looked at: quickly at first, then at ease."""

    first_seconds: float = 1
    longest_seconds: float = 15
    growth: float = 1.3


class FruitsStepLauncher(EmrPySparkStepLauncher):
    """Launches steps on the cluster of that name."""

    def __init__(
        self,
        *,
        cluster_name: str,
        region: str,
        storage: Location,
        settings: Mapping[str, str],
        spark_config: Mapping[str, str],
        polling: Polling | None = None,
    ) -> None:
        bucket, key = (storage / STAGING).bucket_and_key
        super().__init__(  # type: ignore[no-untyped-call]
            region_name=region,
            staging_bucket=bucket,
            staging_prefix=key,
            wait_for_logs=False,
            # CANCEL_AND_WAIT is refused where the cluster runs several steps at once.
            action_on_failure="CONTINUE",
            cluster_id="",  # known when a step is launched: clusters come and go
            spark_config=dict(spark_config),
            local_job_package_path=str(Path(__file__).parents[2]),
            deploy_local_job_package=False,
        )
        self.cluster_name = cluster_name
        self.storage = storage
        self.settings = dict(settings)
        self.polling = polling or Polling()
        self._attempts: dict[str, int] = {}
        self._launched_at = 0.0

    def launch_step(self, step_context: StepExecutionContext) -> Iterator[Any]:
        """Run the step on the cluster; yield its events as they come."""
        log, step_key = step_context.log, step_context.step.key
        self._attempts[step_key] = step_context.previous_attempt_count
        self.cluster_id = cluster.ensure_ready(
            self.cluster_name, self.region_name, log.info, storage=self.storage
        )
        code = code_package.push(self.storage / STAGING / "code", self.region_name)
        self.s3_job_package_path = code.hadoop
        run_id = step_context.run_id
        self._post_artifacts(log, step_context_to_step_run_ref(step_context), run_id, step_key)
        step = self._get_emr_step_def(run_id, step_key, step_context.op.name)  # type: ignore[no-untyped-call]
        emr = client("emr", self.region_name)
        with aws_errors(f"adding a step to cluster {self.cluster_name}"):
            answer = emr.add_job_flow_steps(JobFlowId=self.cluster_id, Steps=[step])
        step_id, self._launched_at = answer["StepIds"][0], time.monotonic()
        try:
            log.info(f"EMR step {step_id} on cluster {self.cluster_name} ({self.cluster_id})")
            yield from self.wait_for_completion(step_context, None, run_id, step_key, step_id)
        except ClusterError:  # the step has ended by itself
            raise
        except BaseException:  # else it would go on running, and be billed
            self._cancel(step_id, log)
            raise

    def wait_for_completion(
        self,
        step_context: StepExecutionContext,
        s3: Any,
        run_id: str,
        step_key: str,
        emr_step_id: str,
        check_interval: float = 0,
    ) -> Iterator[Any]:
        """Yield events until the step has ended; the stock class waits 15 s before each look."""
        seen, state, pause = 0, "", self.polling.first_seconds
        while state != "COMPLETED":
            with raise_execution_interrupts():
                time.sleep(pause)
            # The cluster first: it may end right after its last step is done.
            now = cluster.describe(self.cluster_id, self.region_name)
            before, (state, reason) = state, self._state_of(emr_step_id)
            if state != before:
                step_context.log.info(f"EMR step {emr_step_id} is {state}")
            events = self._events(run_id, step_key)
            for event in events[seen:]:
                yield from self._handle(step_context, event)
            seen = len(events)
            if state in {"FAILED", "CANCELLED", "INTERRUPTED"}:
                raise ClusterError(self._why(run_id, step_key, emr_step_id, state, reason))
            if state != "COMPLETED" and now.state not in cluster.LIVING:
                died = f"The cluster is {now.state}: {now.reason or 'EMR does not say why'}. "
                died += "Materialize again: an identical cluster is started, and nothing is lost."
                raise ClusterError(self._why(run_id, step_key, emr_step_id, state, died))
            pause = min(pause * self.polling.growth, self.polling.longest_seconds)

    def _events(self, run_id: str, step_key: str) -> list[EventLogEntry]:
        s3 = boto3.resource("s3", region_name=self.region_name)
        with aws_errors(f"reading the events of {step_key}"):
            return list(self.read_events(s3, run_id, step_key))  # type: ignore[no-untyped-call]

    def _handle(self, step_context: StepExecutionContext, event: EventLogEntry) -> Iterator[Any]:
        event = self._as_if_here(step_context, event)
        step_context.instance.handle_new_event(event)
        if event.is_dagster_event:
            yield event.dagster_event

    def _as_if_here(
        self, step_context: StepExecutionContext, event: EventLogEntry
    ) -> EventLogEntry:
        """A materialization with what the cluster's Dagster cannot know: its inputs and its cost.

        Without the versions of its inputs a launched asset would be "Unsynced" for ever.
        """
        happened = event.dagster_event
        if happened is None or not happened.is_step_materialization:
            return event
        made = happened.step_materialization_data.materialization
        assets_def = step_context.job_def.asset_layer.get(made.asset_key).assets_def
        tags = provenance.tags(step_context.instance, assets_def, made.asset_key)
        metadata = {**made.metadata, **self._cost(step_context.log, made)}
        known = dg.AssetMaterialization(
            made.asset_key,
            made.description,
            metadata,
            made.partition,
            tags=_without_inputs(made.tags) | tags,
        )
        data = happened.step_materialization_data._replace(materialization=known)
        return event._replace(dagster_event=happened._replace(event_specific_data=data))

    def _cost(self, log: Any, made: dg.AssetMaterialization) -> dict[str, Any]:
        """What the cluster has cost since this step was launched; nothing where it has no rows."""
        from fruits_assets.emr import cost  # on the host only: the cluster has no command line

        rows = made.metadata.get("dagster/row_count")
        if rows is None or not rows.value:
            return {}
        try:
            now = cluster.status(self.cluster_name, self.region_name)
        except AwsError as error:
            log.warning(f"No cost is shown: {error}")
            return {}
        if now is None or not now.instances:
            return {}
        seconds = time.monotonic() - self._launched_at
        return cost.metadata(cost.from_run(seconds, now.instances, int(str(rows.value))))

    def _post_artifacts(self, log: Any, step_run_ref: Any, run_id: str, step_key: str) -> None:
        """Our own main file, and the settings beside the step: it has no others."""
        order = {"settings": self.settings, "step": pickle.dumps(step_run_ref)}
        files = {
            Path(step_main.__file__).name: Path(step_main.__file__).read_bytes(),
            PICKLED_STEP_RUN_REF_FILE_NAME: pickle.dumps(order),
        }
        for name, content in files.items():
            key = self._artifact_s3_key(run_id, step_key, name)
            with aws_errors(f"writing s3://{self.staging_bucket}/{key}"):
                s3 = client("s3", self.region_name)
                s3.put_object(Bucket=self.staging_bucket, Key=key, Body=content)

    def _main_file_local_path(self) -> str:
        return step_main.__file__

    def _artifact_s3_key(self, run_id: str, step_key: str, filename: str) -> str:
        """A folder an attempt: a retry would read the events of the try before it."""
        attempt = f"attempt-{self._attempts.get(step_key, 0)}"
        parts = [self.staging_prefix, run_id, self._sanitize_step_key(step_key), attempt, filename]
        return "/".join(parts)

    def _state_of(self, step_id: str) -> tuple[str, str]:
        with aws_errors(f"looking at step {step_id} of cluster {self.cluster_id}"):
            emr = client("emr", self.region_name)
            step = emr.describe_step(ClusterId=self.cluster_id, StepId=step_id)["Step"]
        status = step["Status"]
        reason = status.get("FailureDetails") or status.get("StateChangeReason") or {}
        return status["State"], str(reason.get("Message") or reason.get("Reason") or "")

    def _cancel(self, step_id: str, log: Any) -> None:
        emr, steps = client("emr", self.region_name), [step_id]
        how = "TERMINATE_PROCESS"
        try:
            with aws_errors(f"cancelling EMR step {step_id}"):
                emr.cancel_steps(
                    ClusterId=self.cluster_id, StepIds=steps, StepCancellationOption=how
                )
        except AwsError as error:
            log.error(f"{error} The step may still be running on {self.cluster_id}.")
            return
        log.info(f"EMR step {step_id} is cancelled")

    def _why(self, run_id: str, step_key: str, step_id: str, state: str, reason: str) -> str:
        said = self._crash(run_id, step_key) or self._step_log(step_id) or "(it left no log)"
        last = "\n".join(said.strip().splitlines()[-_LAST_LINES:])
        return (
            f"EMR step {step_id} on cluster {self.cluster_name} ({self.cluster_id}) is {state}. "
            f"{reason}\nThe last it said:\n{last}"
        )

    def _crash(self, run_id: str, step_key: str) -> str:
        key = self._artifact_s3_key(run_id, step_key, step_main.CRASH_FILE)
        return self._text(self.staging_bucket, key)

    def _step_log(self, step_id: str) -> str:
        """What EMR itself kept, where it has copied it to S3 by now."""
        emr = client("emr", self.region_name)
        with aws_errors(f"looking at cluster {self.cluster_id}"):
            described = emr.describe_cluster(ClusterId=self.cluster_id)["Cluster"]
        if not described.get("LogUri"):
            return ""
        log = Location.parse(described["LogUri"].replace("s3n://", "s3://"))
        bucket, key = (log / self.cluster_id / "steps" / step_id / "stderr.gz").bucket_and_key
        return self._text(bucket, key)

    def _text(self, bucket: str, key: str) -> str:
        s3 = client("s3", self.region_name)
        with aws_errors(f"reading s3://{bucket}/{key}"):
            try:
                content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
                return ""
        content = gzip.decompress(content) if key.endswith(".gz") else content
        return str(content.decode(errors="replace"))


def launched_spark_config(config: Mapping[str, str], region: str) -> dict[str, str]:
    """Spark's settings for a step: those, and the packed environment's Python everywhere."""
    python = f"{ENVIRONMENT_PATH}/bin/python"
    return dict(config) | {
        "spark.pyspark.python": python,
        "spark.pyspark.driver.python": python,
        "spark.submit.deployMode": "client",
        "spark.executorEnv.AWS_DEFAULT_REGION": region,
    }


def _without_inputs(tags: Mapping[str, str] | None) -> dict[str, str]:
    own = ("dagster/input_data_version/", "dagster/input_event_pointer/")
    return {name: value for name, value in (tags or {}).items() if not name.startswith(own)}
