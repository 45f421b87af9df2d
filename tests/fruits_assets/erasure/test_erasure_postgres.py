"""A person is erased from Dagster's records in PostgreSQL, and again from a restored dump."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fruits_assets.records.home import Records
from fruits_assets.records.redaction import Redaction
from spark_src.erasure import erased
from spark_src.erasure.needles import Needles
from spark_src.erasure.target import Target
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.erasure_scanner import is_in, rows_with
from tests.host.postgres import DATABASE, USER, Postgres, binary

NAME = 'zq7-anna "é\n2'
PATH = f"photos/{NAME}/my picture.jpg"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    binary("initdb")  # first of all, because these tests are skipped without it
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def dsn(postgres: Postgres) -> str:
    return (
        f"host=127.0.0.1 port={postgres.port} user={USER} password={postgres.password} "
        f"dbname={DATABASE}"
    )


@pytest.fixture
def instance(postgres: Postgres, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster on PostgreSQL, with records of a person and of somebody else."""
    connection = {
        "hostname": "127.0.0.1",
        "port": postgres.port,
        "username": USER,
        "password": postgres.password,
        "db_name": DATABASE,
        "scheme": "postgresql+psycopg2",
    }
    config = {"storage": {"postgres": {"postgres_db": connection}}}
    (tmp_path / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.get() as instance:
        ended = dg.DagsterRunStatus.SUCCESS
        run = dg.DagsterRun(
            "job", status=ended, tags={"path": PATH, "of": NAME}, run_config={"subject": NAME}
        )
        instance.add_run(run)
        instance.add_dynamic_partitions("people", [NAME])
        labels = dg.MetadataValue.md(f"| label | rows |\n| --- | ---: |\n| {NAME} | 40 |")
        shown = {"worst": PATH, "labels": labels, "other": "photos/ben-22c/1.jpg"}
        instance.report_runless_asset_event(
            dg.AssetMaterialization("raw_images", description=f"of {PATH}", metadata=shown)
        )
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                check_name="new_images_are_familiar",
                asset_key=dg.AssetKey("pca_components"),
                passed=False,
                metadata={"worst": PATH},
                description=f"Look at {PATH}",
            )
        )
        instance.daemon_cursor_storage.set_cursor_values({"cursor": PATH})
        yield instance


def test_redacted_postgresql_records_contain_no_person(
    instance: dg.DagsterInstance, dsn: str, postgres: Postgres
) -> None:
    needles = Needles.from_target(Target.from_names(NAME), Location("file", "/input"), [])
    records = Records(instance)
    before = rows_with("zq7-anna", dsn)
    expected = {"event_logs", "asset_keys", "asset_check_executions", "runs", "run_tags", "kvs"}
    assert expected <= set(before)
    assert {NAME, "ben-22c"} <= records.people()
    assert records.scan(needles).n_hits >= len(expected)
    assert records.redact(Redaction(needles, (NAME,))) >= len(expected)
    assert rows_with("zq7-anna", dsn) == []
    assert rows_with("ben-22c", dsn) != []
    assert records.scan(needles).n_hits == 0
    postgres.query("checkpoint")
    tables = [path for path in (postgres.data / "base").rglob("*") if path.is_file()]
    assert not [path for path in tables if is_in(path.read_bytes(), "zq7-anna", depth=4)]
    event = instance.get_latest_materialization_event(dg.AssetKey("raw_images"))
    assert event and event.asset_materialization
    assert event.asset_materialization.metadata["other"].value == "photos/ben-22c/1.jpg"


def test_rows_deleted_before_are_wiped_from_postgresqls_pages(
    instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    run = dg.DagsterRun("job", tags={"path": "photos/zq7-emil/1.jpg"})
    instance.add_run(run)
    instance.delete_run(run.run_id)
    needles = Needles.from_target(Target.from_names("zq7-emil"), Location("file", "/input"), [])
    Records(instance).redact(Redaction(needles, ("zq7-emil",)))
    postgres.query("checkpoint")
    tables = [path for path in (postgres.data / "base").rglob("*") if path.is_file()]
    assert not [path for path in tables if is_in(path.read_bytes(), "zq7-emil", depth=4)]


def test_a_restored_dump_is_erased_again(
    instance: dg.DagsterInstance,
    dsn: str,
    postgres: Postgres,
    own: Path,
    fruits: Callable[..., tuple[int, str]],
) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization("raw_images", metadata={"worst": "photos/zq7-dora/1.jpg"})
    )
    environment = {"PGPASSWORD": postgres.password}
    where = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", USER]
    dumped = subprocess.run(
        [binary("pg_dump"), *where, "--format=custom", DATABASE],
        env=environment,
        check=True,
        capture_output=True,
    ).stdout
    needles = Needles.from_target(Target.from_names("zq7-dora"), Location("file", "/input"), [])
    Records(instance).redact(Redaction(needles, ("zq7-dora",)))
    erased.record(Tables(Location.parse(str(own / "data"))), "1", Target.from_names("zq7-dora"))
    assert rows_with("zq7-dora", dsn) == []
    restore = [binary("pg_restore"), *where, "--clean", "--if-exists", f"--dbname={DATABASE}"]
    subprocess.run(restore, env=environment, check=True, input=dumped)
    assert rows_with("zq7-dora", dsn) != []
    code, text = fruits("erase", "--replay", "--yes")
    assert code == 0, text
    assert rows_with("zq7-dora", dsn) == []
