"""The Dagster job that erases a person's data, in three steps; what each does: spark_src/erasure.

Each step works on every request that is pending under the storage, so that running the job again
completes what was interrupted. The job takes no name: only who may write there makes a request.
"""

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from fruits_assets.erasure_downstream import Downstream, make_on_host, report_sources
from fruits_assets.io_managers import DeltaIOManager
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
        context.log.info(f"switched off until the end: {', '.join(switched_off)}")
    require_no_run(context.instance)
    for request in requests.pending(storage.tables):
        try:
            removed = requests.erase_inputs(storage.tables, input_folder.root, request)
        except FruitsError as error:  # one request does not hold up another
            context.log.error(f"request {request.name}: {error}")
        else:
            context.log.info(f"request {request.name}: {removed:,} files and versions deleted")


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def erase_rows(
    context: dg.OpExecutionContext,
    pyspark: LazyPySparkResource,
    step_launcher: Launcher,  # noqa: ARG001 - takes the step to the cluster
    storage: AssetStorage,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Take the rows out of the tables of pictures; make the downstream assets anew."""
    tables = storage.tables
    for request in requests.pending(tables):
        if "inputs" not in request.done:
            continue
        removed = requests.erase_rows(
            lambda: pyspark.spark_session, tables, request, context.run_id
        )
        context.log.info(f"request {request.name}: rows deleted: {removed}")
    report_sources(context, tables)
    Downstream(context, tables, delta, pyspark).make()


@dg.op(ins={"begin": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def prove_erasure(
    context: dg.OpExecutionContext,
    storage: AssetStorage,
    input_folder: InputFolder,
    delta: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Delete earlier versions and leftovers, redact Dagster's records, scan every file.

    Then it writes the receipts.
    """
    require_no_run(context.instance)
    tables = storage.tables
    make_on_host(context, tables, delta)
    purged = purge(tables, context.run_id)
    context.log.info(f"{purged:,} files of no current version deleted")
    failures = _prove(context, tables, input_folder.root, purged)
    requests.require_all_done(tables, failures)
    resume(context.instance)


@dg.failure_hook(name="switch_on_again")
def switch_on_again(context: dg.HookContext) -> None:
    """Sensor and automation, after a step that failed."""
    resume(context.instance)


@dg.job(
    name=JOB,
    hooks={switch_on_again},
    description="Erase the data of every request that `fruits erase` has made: pictures, and "
    "all that was made of them; then look into every file.",
)
def erase() -> None:
    """The host deletes files, the cluster rewrites tables, the host proves it."""
    prove_erasure(erase_rows(erase_inputs()))


def _prove(
    context: dg.OpExecutionContext, tables: Tables, source: Location, purged: int
) -> list[str]:
    """Redact Dagster's records, look everywhere, write receipts; return why some got none."""
    pending = [found for found in requests.pending(tables) if "rows" in found.done]
    if not pending:
        return []
    needles = proof.needles_of(tables, source, pending)
    records = Records(context.instance, (tables.root, source))
    subjects = tuple(name for request in pending for name in request.target.names)
    of_all = Needles.merge(needles.values())
    redacted = records.redact(Redaction(of_all, subjects))
    counts = {"purged_files": purged, "redacted_records": redacted}
    found = proof.look(tables, source, of_all, records.scan)
    failures = []
    for request in pending:
        try:
            own = found
            if not found.is_clean:  # of one of them, which has to be told
                own = proof.look(tables, source, needles[request.name], records.scan)
            receipt = proof.prove(tables, source, request, counts, own)
        except ErasureError as error:  # one request does not hold up another
            failures.append(str(error))
        else:
            context.log.info(f"request {request.name}: receipt {receipt}")
    return failures


def require_no_run(instance: dg.DagsterInstance) -> None:
    """Refuse to erase while a run may have read what is to go, and could write it again.

    Raises:
        ErasureError: a run of this code location, not of this job, is queued or in progress.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    found = [f"{run.run_id[:8]} ({run.status.value})" for run in runs if _may_write(run)]
    if found:
        raise ErasureError(
            f"Queued or in progress: {', '.join(found)}. What a run has read could come back. Wait "
            "until it has ended, or terminate it in Dagster's UI, and run `fruits erase` again. "
            "One whose process is dead stays in progress until the UI forces its termination, or "
            "`uv run dagster run delete RUN_ID` deletes its records."
        )


def _may_write(run: dg.DagsterRun) -> bool:
    """Whether a run of anything but this job belongs to this code location."""
    if run.job_name == JOB:
        return False
    if run.asset_selection:
        return any(key.to_user_string() in PREFIXES for key in run.asset_selection)
    origin = run.remote_job_origin
    return origin is None or origin.location_name == CODE_LOCATION
