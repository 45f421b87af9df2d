"""The graph materialized once from the sample, writable copies of it, and helpers to run parts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from fruits_assets import automation
from fruits_assets.checks.run_checks import Outcome, run_checks
from fruits_assets.definitions import build_defs, resources
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.io.locations import Location
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.delta import Snapshot, is_table
from spark_src.tables.statistics import Statistics
from tests.cluster_env import built_env
from tests.fruits_assets.aws import Emulated, emulated
from tests.pipeline import tables_in

Materialized = tuple[Path, dg.ExecuteInProcessResult, dg.DagsterInstance]

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the tests from the developer's settings and Dagster home."""
    for name in [name for name in os.environ if name.startswith("FRUITS_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "dagster_home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")


@pytest.fixture
def emr(aws: str, monkeypatch: pytest.MonkeyPatch) -> Emulated:  # noqa: ARG001
    """Emulated EMR without a cluster."""
    return emulated(monkeypatch)


@pytest.fixture
def staging(bucket: str) -> Location:
    """The staging folder for the cluster."""
    return Location.parse(f"s3://{bucket}/data/staging")


def evaluate_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the sensor like the daemon does, and update its cursor."""
    data = automation.new_pictures.evaluate_tick(context)
    if data.cursor is not None:
        context.update_cursor(data.cursor)
    if data.run_requests:
        return dg.SensorResult(data.run_requests, cursor=data.cursor)
    return dg.SkipReason(data.skip_message)


@pytest.fixture(scope="session")
def run(spark: SparkSession, sample: Path) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materialize a selection in this process, as Dagster's UI would.

    It uses the running Spark session. `io_managers` replaces IO managers by key; the project's key
    is `delta`. `options` are further settings.
    """

    def execute(
        storage: Path,
        select: str = "*",
        *,
        source: Path = sample,
        ops: Mapping[str, Mapping[str, Any]] | None = None,
        io_managers: Mapping[str, type[dg.ConfigurableIOManager]] | None = None,
        instance: dg.DagsterInstance | None = None,
        raise_on_error: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        assert spark.getActiveSession() is not None
        common = {"storage": str(storage), "input": str(source), "weights": "imagenet"}
        settings = Settings(**common, **(options or {}))
        own = resources(settings)
        overrides = {
            name: kind(storage=own["storage"]) for name, kind in (io_managers or {}).items()
        }
        definitions = build_defs(settings, resource_overrides=overrides)
        selection = dg.AssetSelection.from_string(select).required_multi_asset_neighbors()
        config = {name: {"config": dict(values)} for name, values in (ops or {}).items()}
        with nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as kept:
            return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=kept,
                asset_selection=sorted(selection.resolve(definitions.resolve_asset_graph())),
                run_config=QUIET | {"ops": config},
                raise_on_error=raise_on_error,
            )

    return execute


@pytest.fixture(scope="session")
def materialized(
    run: Callable[..., dg.ExecuteInProcessResult], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Materialized]:
    """Storage root, result and instance of one full run. Read-only."""
    root = tmp_path_factory.mktemp("materialized") / "data"
    with dg.DagsterInstance.ephemeral() as instance:
        yield root, run(root, instance=instance), instance


@pytest.fixture(scope="session")
def stored(materialized: Materialized) -> Path:
    """The storage root of the full run. Read-only."""
    return materialized[0]


@pytest.fixture(scope="session")
def whole_run(materialized: Materialized) -> dg.ExecuteInProcessResult:
    """The result of the full run."""
    return materialized[1]


@pytest.fixture
def copied(stored: Path, tmp_path: Path) -> Path:
    """A writable copy of the storage root of the full run."""
    return Path(shutil.copytree(stored, tmp_path / "data"))


@pytest.fixture(scope="session")
def current() -> Callable[[Path, str], Snapshot]:
    """The current version of an asset under a storage root."""
    return lambda root, asset: tables_in(root).current(asset)


@pytest.fixture(scope="session")
def parts(current: Callable[[Path, str], Snapshot]) -> Callable[[Path, str], list[Path]]:
    """The Parquet files of an asset's current version."""
    return lambda root, asset: [Path(file.path) for file in current(root, asset).locations]


@pytest.fixture(scope="session")
def read() -> Callable[..., pa.Table]:
    """The rows of a table (by default its current version), sorted by path."""

    def rows(root: Path, asset: str, version: int | None = None) -> pa.Table:
        table = DeltaTable(str(root / PREFIXES[asset]), version)
        return table.to_pyarrow_table().sort_by("path").combine_chunks()

    return rows


@pytest.fixture(scope="session")
def set_statistics() -> Callable[..., Snapshot]:
    """Commit a version of an asset with the same files but other statistics (merged if nested)."""

    def change(root: Path, asset: str, **changes: Any) -> Snapshot:
        write = tables_in(root).begin(asset, "a-test")
        assert write.before is not None
        statistics = changed(write.before.statistics, changes)
        return write.commit(statistics) if is_table(asset) else commit_artifact(write, statistics)

    return change


def changed(known: Statistics, changes: Mapping[str, Any]) -> Statistics:
    """The statistics with some values replaced."""
    values = known.model_dump()
    for name, value in changes.items():
        values[name] = values[name] | value if isinstance(values[name], dict) else value
    return type(known).model_validate(values)


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """The digests of all files in a folder, to detect changes."""

    def read_all(root: Path) -> dict[str, str]:
        return {
            str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(root.rglob("*"))
            if file.is_file()
        }

    return read_all


@pytest.fixture
def check() -> Callable[[Path], dict[str, Outcome]]:
    """Run all checks on a storage root; outcomes by `asset:check`."""

    def run_all(root: Path) -> dict[str, Outcome]:
        with dg.DagsterInstance.ephemeral() as instance:
            outcomes = run_checks(build_defs(Settings(storage=str(root))), instance)
        return {f"{outcome.asset}:{outcome.check}": outcome for outcome in outcomes}

    return run_all


@pytest.fixture(scope="session")
def error_text() -> Callable[[dg.ExecuteInProcessResult], str]:
    """The error messages of a run's failed steps, including causes."""

    def collect(result: dg.ExecuteInProcessResult) -> str:
        errors = [
            event.step_failure_data.error
            for event in result.filter_events(lambda event: event.is_step_failure)
        ]
        return "\n".join(error.to_string() for error in errors if error)

    return collect


@pytest.fixture(scope="session")
def made() -> Callable[[dg.ExecuteInProcessResult], set[str]]:
    """The names of the assets that a run materialized."""
    return lambda result: {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


@pytest.fixture(scope="session")
def copy_pictures(sample: Path) -> Callable[..., Path]:
    """Fill a folder with evenly chosen pictures of the sample, with `copies` under other names."""

    def fill(folder: Path, count: int, copies: int = 1) -> Path:
        every = sorted(sample.rglob("*.jpg"))
        for picture in every[:: len(every) // count][:count]:
            for copy in range(copies):
                target = folder / picture.relative_to(sample).with_stem(f"{picture.stem}-{copy}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, target)
        return folder

    return fill


@pytest.fixture(scope="session")
def archive() -> Path:
    """The real archive of the packed environment."""
    return built_env()
