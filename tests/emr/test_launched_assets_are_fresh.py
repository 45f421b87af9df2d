"""Data versions of inputs, which a step on the cluster does not know and our launcher adds."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.loader import LoadingContextForTest
from dagster_aws.emr.pyspark_step_launcher import EmrPySparkStepLauncher

from fruits_assets.dagster_internals import run_step, step_reference
from fruits_assets.emr.event_relay import EventRelay
from fruits_assets.emr.launcher import FruitsStepLauncher
from fruits_assets.emr.step_definition import StepDefinition, dump_events, parse_events
from fruits_assets.emr.submission import StepFiles
from spark_src.io.locations import Location
from tests.emr.emulated_cluster import REGION

pytestmark = pytest.mark.filterwarnings("ignore::dagster.SupersessionWarning")


def events_of_the_cluster(step_context: StepExecutionContext) -> list[Any]:
    """Run the step as on the cluster: from its definition, with a separate instance."""
    definition, events = StepDefinition.for_step({}, step_reference(step_context)), list[Any]()
    run_step(StepDefinition.parse(definition.dump()).step_reference(), events.append)
    return parse_events(dump_events(events))


class Stock(EmrPySparkStepLauncher):
    """dagster-aws's launcher, from the point where it receives the step's events."""

    def launch_step(self, step_context: StepExecutionContext) -> Iterator[Any]:
        events = events_of_the_cluster(step_context)
        self.read_events = lambda *_: events
        self.emr_job_runner = SimpleNamespace(is_emr_step_complete=lambda *_: True)
        run_id, key = step_context.run_id, step_context.step.key
        yield from self.wait_for_completion(step_context, None, run_id, key, "s-1", 0)


class Ours(FruitsStepLauncher):
    """This project's launcher, from the same point."""

    def launch_step(self, step_context: StepExecutionContext) -> Iterator[Any]:
        relay = EventRelay(step_context, StepFiles(self.storage), "none", REGION)
        for event in events_of_the_cluster(step_context):
            yield from relay.relay(event)


@dg.resource
def stock_launcher() -> Stock:
    return Stock(  # type: ignore[no-untyped-call]
        region_name=REGION,
        staging_bucket="bucket",
        staging_prefix="staging",
        wait_for_logs=False,
        action_on_failure="CONTINUE",
        cluster_id="j-1",
        spark_config={},
        local_job_package_path="/",
        deploy_local_job_package=False,
    )


@dg.resource
def our_launcher() -> Ours:
    storage = Location.parse("s3://bucket/data")
    return Ours(cluster_name="c", region=REGION, storage=storage, settings={}, spark_config={})


@dg.asset
def pictures() -> dg.Output[int]:
    return dg.Output(1, data_version=dg.DataVersion("pictures-1"))


@dg.asset(deps=[pictures], required_resource_keys={"launcher"})
def features() -> dg.Output[int]:
    return dg.Output(2, data_version=dg.DataVersion("features-1"))


def stock_job() -> dg.JobDefinition:
    return _definitions(stock_launcher).resolve_job_def("both")


def our_job() -> dg.JobDefinition:
    return _definitions(our_launcher).resolve_job_def("both")


def _definitions(launcher: dg.ResourceDefinition) -> dg.Definitions:
    both = dg.define_asset_job("both", "*", executor_def=dg.in_process_executor)
    return dg.Definitions([pictures, features], jobs=[both], resources={"launcher": launcher})


@pytest.mark.parametrize(
    ("job", "status"), [(stock_job, StaleStatus.STALE), (our_job, StaleStatus.FRESH)]
)
def test_a_launched_asset_is_stale_with_the_stock_launcher_and_fresh_with_ours(
    job: Any, status: StaleStatus
) -> None:
    with dg.instance_for_test() as instance:
        assert dg.execute_job(dg.reconstructable(job), instance).success

        graph = _definitions(our_launcher).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        assert resolver.get_status(dg.AssetKey("features")) == status
