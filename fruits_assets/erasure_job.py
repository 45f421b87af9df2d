"""The Dagster job that erases a person's data in three steps, implemented in spark_src/erasure.

Each step processes every pending request in the storage, so that another run completes an
interrupted one. The job takes no name: creating a request needs write access to the storage.
"""

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets.erasure_downstream import Downstream, rebuild_on_host, report_sources
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.launchpad import only_log_level
from fruits_assets.records.home import Records
from fruits_assets.records.pause import CODE_LOCATION, pause, resume
from fruits_assets.records.redaction import Redaction
from fruits_assets.resources import AssetStorage, InputFolder, Launcher
from spark_src.contract import PREFIXES
from spark_src.erasure import proof, requests
from spark_src.erasure.needles import Needles
from spark_src.erasure.purge import purge
from spark_src.errors import ErasureError, FruitsError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

JOB = "erase"

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.op(out=dg.Out(dg.Nothing))
def erase_inputs(
    context: dg.OpExecutionContext, storage: AssetStorage, input_folder: InputFolder
) -> None:
    """Delete the pictures under the input, with all their versions."""
    switched_off = pause(context.instance)
    if switched_off:
        context.log.info(f"paused during the erasure: {', '.join(switched_off)}")
    Records(context.instance).require_supported()
    require_no_run(context.instance)
    for request in requests.pending(storage.tables):
        try:
            removed = requests.erase_inputs(storage.tables, input_folder.root, request)
        except FruitsError as error:  # a failed request must not block others
            context.log.error(f"request {request.name}: {error}")
        else:
            context.log.info(f"request {request.name}: files and versions deleted: {removed:,}")


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def erase_rows(
    context: dg.OpExecutionContext,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,  # noqa: ARG001 - runs the step on the cluster
    storage: AssetStorage,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Delete the rows, and rebuild the downstream assets."""
    tables = storage.tables
    for request in requests.pending(tables):
        if "inputs" not in request.done:
            continue
        removed = requests.erase_rows(
            lambda: pyspark.spark_session, tables, request, context.run_id
        )
        context.log.info(f"request {request.name}: rows deleted: {removed}")
    report_sources(context, tables)
    Downstream(context, tables, delta, pyspark).rebuild()


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def prove_erasure(
    context: dg.OpExecutionContext,
    storage: AssetStorage,
    input_folder: InputFolder,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Scan every file, and write the receipts.

    Before that, delete earlier versions and leftover files, and redact Dagster's records.
    """
    require_no_run(context.instance)
    tables = storage.tables
    rebuild_on_host(context, tables, delta)
    purged = purge(tables, context.run_id)
    context.log.info(f"files outside the current versions deleted: {purged:,}")
    failures = _prove(context, tables, input_folder.root, purged)
    requests.require_all_done(tables, failures)
    resume(context.instance)


@dg.failure_hook(name="resume_automation")
def resume_automation(context: dg.HookContext) -> None:
    """Resume sensor and automation after a failed step."""
    resume(context.instance)


@dg.job(
    name=JOB,
    config=only_log_level,
    hooks={resume_automation},
    description="Erases the data of every request created by `fruits erase`: pictures and all "
    "data derived from them. Then scans every file.",
)
def erase() -> None:
    """The host deletes files, the cluster rewrites tables, the host verifies the erasure."""
    prove_erasure(erase_rows(erase_inputs()))


def _prove(
    context: dg.OpExecutionContext, tables: Tables, source: Location, purged: int
) -> list[str]:
    """Redact Dagster's records, scan everything, write receipts; return the failures."""
    pending = [found for found in requests.pending(tables) if "rows" in found.done]
    if not pending:
        return []
    needles = proof.needles_of(tables, source, pending)
    records = Records(context.instance, (tables.root, source))
    subjects = tuple(name for request in pending for name in request.target.names)
    merged = Needles.merge(needles.values())
    files = frozenset[str]().union(*(request.target.paths for request in pending))
    redacted = records.redact(Redaction(merged, subjects, files))
    counts = {"purged_files": purged, "redacted_records": redacted}
    found = proof.scan_all(tables, source, merged, records.scan)
    failures = []
    for request in pending:
        try:
            own = found
            if not found.is_clean:  # scan again to find out which request has hits
                own = proof.scan_all(tables, source, needles[request.name], records.scan)
            receipt = proof.prove(tables, source, request, counts, own)
        except ErasureError as error:  # a failed request must not block others
            failures.append(str(error))
        else:
            context.log.info(f"request {request.name}: receipt {receipt}")
    return failures


def require_no_run(instance: dg.DagsterInstance) -> None:
    """Refuse to erase while another run could write data back that it has already read.

    Raises:
        ErasureError: another run of this code location is queued or in progress.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    found = [f"{run.run_id[:8]} ({run.status.value})" for run in runs if _may_write(run)]
    if found:
        raise ErasureError(
            f"Queued or in progress: {', '.join(found)}. Such a run could write erased data back. "
            "Wait until it has ended, or terminate it in Dagster's UI, and run `fruits erase` "
            "again. A run whose process died stays in progress until you force its termination in "
            "the UI or delete its records with `uv run dagster run delete RUN_ID`."
        )


def _may_write(run: dg.DagsterRun) -> bool:
    """Whether a run belongs to this code location and is not of this job."""
    if run.job_name == JOB:
        return False
    if run.asset_selection:
        return any(key.to_user_string() in PREFIXES for key in run.asset_selection)
    origin = run.remote_job_origin
    return origin is None or origin.location_name == CODE_LOCATION
