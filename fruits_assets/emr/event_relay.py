"""Copies a step's events from S3 to the run, adding metadata that only the host has."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fruits_assets import provenance
from fruits_assets.emr import cluster, cost
from fruits_assets.emr.step_definition import parse_events
from fruits_assets.emr.submission import StepFiles
from spark_src.errors import AwsError, ClusterError
from spark_src.io.aws import aws_errors, client


class EventRelay:
    """Relays the events of one attempt of a step, each once."""

    def __init__(
        self,
        step_context: dg.StepExecutionContext,
        files: StepFiles,
        cluster_name: str,
        region: str,
    ) -> None:
        self._context, self._files = step_context, files
        self._cluster_name, self._region = cluster_name, region
        self._started = time.monotonic()
        self._seen = 0
        self.has_failed = False
        """Whether an event reported that the step failed."""

    def new_events(self) -> Iterator[dg.DagsterEvent]:
        """Store the events since the last call, and yield their Dagster events.

        Raises:
            ClusterError: the file has no events, or events of another step.
        """
        events = self._read()
        for entry in events[self._seen :]:
            yield from self.relay(entry)
        self._seen = len(events)

    def relay(self, entry: dg.EventLogEntry) -> Iterator[dg.DagsterEvent]:
        """Store an event, and yield its Dagster event."""
        self._require_own(entry)
        entry = self._with_host_metadata(entry)
        self._context.instance.handle_new_event(entry)
        event = entry.dagster_event
        if event is None:
            return
        self.has_failed |= event.is_step_failure or event.is_step_up_for_retry
        yield event

    def _read(self) -> list[dg.EventLogEntry]:
        bucket, key = self._files.events.bucket_and_key
        s3 = client("s3", self._region)
        with aws_errors(f"reading {self._files.events.uri}"):
            try:
                content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            except s3.exceptions.NoSuchKey:
                return []
        return parse_events(content)

    def _require_own(self, entry: dg.EventLogEntry) -> None:
        """Refuse events of other steps, which only another program can have written."""
        step_key, event = self._context.step.key, entry.dagster_event
        keys = {entry.step_key, event.step_key if event else None} - {None, step_key}
        if entry.run_id == self._context.run_id and not keys and not (event and event.is_job_event):
            return
        raise ClusterError(
            f"An event in {self._files.events.uri} is not of step {step_key} of run "
            f"{self._context.run_id}: another program wrote it. Identify the program in the "
            "bucket's audit trail, then materialize again."
        )

    def _with_host_metadata(self, entry: dg.EventLogEntry) -> dg.EventLogEntry:
        """Add the versions of the inputs and the cost to a materialization.

        Without the input versions, the asset would stay "Unsynced" forever.
        """
        event = entry.dagster_event
        if event is None or not event.is_step_materialization:
            return entry
        original = event.step_materialization_data.materialization
        assets_def = self._context.job_def.asset_layer.get(original.asset_key).assets_def
        tags = provenance.tags(self._context.instance, assets_def, original.asset_key)
        completed = dg.AssetMaterialization(
            original.asset_key,
            original.description,
            {**original.metadata, **self._cost(original)},
            original.partition,
            tags=_without_inputs(original.tags) | tags,
        )
        data = event.step_materialization_data._replace(materialization=completed)
        return entry._replace(dagster_event=event._replace(event_specific_data=data))

    def _cost(self, materialization: dg.AssetMaterialization) -> dict[str, Any]:
        """The cluster's cost since this step was launched; nothing for assets without rows."""
        rows = materialization.metadata.get("dagster/row_count")
        if rows is None or not rows.value:
            return {}
        try:
            now = cluster.status(self._cluster_name, self._region)
        except AwsError as error:
            self._context.log.warning(f"No cost is shown: {error}")
            return {}
        if now is None or not now.instances:
            return {}
        seconds = time.monotonic() - self._started
        return cost.metadata(cost.from_run(seconds, now.instances, int(str(rows.value))))


def _without_inputs(tags: Mapping[str, str] | None) -> dict[str, str]:
    own = ("dagster/input_data_version/", "dagster/input_event_pointer/")
    return {name: value for name, value in (tags or {}).items() if not name.startswith(own)}
