"""A person is erased from Dagster's records: rows, pages, logs, pickles, pictures."""

import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fruits_assets.materialization import PHOTOS_SHOWN
from fruits_assets.records.home import Records
from fruits_assets.records.redaction import NO_PICTURE, Redaction
from spark_src.erasure.needles import Needles
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from tests.erasure_scanner import files_with

NAME = 'zq7-anna "é'
PATH = f"photos/{NAME}/my picture.jpg"
OTHERS = "photos/ben-22c/1.jpg"
IMAGE_ID = "c" * 64
PICTURE = dg.MetadataValue.md("![sheet](data:image/webp;base64,AAAA)")


@dg.asset_check(asset="pca_components", name="new_images_are_familiar")
def _check() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False, description=f"Look at the worst, {PATH}", metadata={"worst": PATH}
    )


@dg.op
def _talkative(context: dg.OpExecutionContext) -> None:
    """Metadata of the first edition."""
    print(f"read {PATH} and {OTHERS}")  # noqa: T201
    context.log.warning(f"{PATH} is broken, {OTHERS} is not; {IMAGE_ID}")
    labels = dg.MetadataValue.md(
        f"| label | rows |\n| --- | ---: |\n| {NAME} | 40 |\n| Apple | 9 |"
    )
    rows = dg.MetadataValue.table([dg.TableRecord({"label": NAME, "rows": 40})])
    shown = {"labels": labels, "rows": rows, "map": PICTURE, "variance": PICTURE, "path": PATH}
    context.log_event(dg.AssetMaterialization("raw_images", metadata=shown))
    context.log_event(
        dg.AssetMaterialization("pca_components", metadata={"map": PICTURE, PHOTOS_SHOWN: False})
    )
    raise ValueError(f"cannot read {PATH}")


@dg.job
def _first_edition() -> None:
    _talkative()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "dagster_home"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk with a failed run of the first edition and its check evaluation."""
    with dg.DagsterInstance.get() as instance:
        _first_edition.execute_in_process(instance=instance, raise_on_error=False)
        checks = dg.Definitions(asset_checks=[_check], jobs=[dg.define_asset_job("checks")])
        selection = dg.define_asset_job("all", selection=dg.AssetSelection.all_asset_checks())
        checks = dg.Definitions(asset_checks=[_check], jobs=[selection])
        checks.resolve_job_def("all").execute_in_process(instance=instance)
        instance.daemon_cursor_storage.set_cursor_values({"cursor": json.dumps({"seen": PATH})})
        kept = home / "storage" / "run-0" / "result"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(pickle.dumps({"path": PATH, "rest": "stays"}))
        (kept.parent / "packed").write_bytes(zlib.compress(PATH.encode()))
        (home / "history" / "zq7-old.gz").write_bytes(b"")
        yield instance


@pytest.fixture
def redaction() -> Redaction:
    needles = Needles.from_target(
        Target.from_names(NAME), Location("file", "/input"), [IMAGE_ID], others=["ben-22c"]
    )
    return Redaction(needles, (NAME,))


def test_a_redacted_dagster_home_contains_no_person(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    records = Records(instance)
    (home / "history" / "zq7-old.gz").unlink()
    assert len(files_with("zq7-anna", home)) >= 5
    assert records.scan(redaction.needles).n_hits >= 5
    assert records.redact(redaction) >= 5
    assert files_with("zq7-anna", home) == []
    assert files_with(IMAGE_ID, home) == []
    assert files_with("ben-22c", home) != []
    assert records.scan(redaction.needles).n_hits == 0
    assert records.redact(redaction) == 0


def test_dagster_still_reads_the_redacted_records(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    [run] = instance.get_runs(filters=dg.RunsFilter(job_name="_first_edition"))
    before = [
        (event.dagster_event_type, event.timestamp) for event in instance.all_logs(run.run_id)
    ]
    Records(instance).redact(redaction)
    after = instance.all_logs(run.run_id)
    assert [(event.dagster_event_type, event.timestamp) for event in after] == before
    event = instance.get_latest_materialization_event(dg.AssetKey("raw_images"))
    assert event and event.asset_materialization
    shown = event.asset_materialization.metadata
    assert "| (erased) | 40 |" in str(shown["labels"].value)
    assert "| Apple | 9 |" in str(shown["labels"].value)
    assert pickle.loads((home / "storage" / "run-0" / "result").read_bytes())["rest"] == "stays"


def test_only_pictures_that_could_show_a_persons_photo_are_removed(
    instance: dg.DagsterInstance, redaction: Redaction
) -> None:
    Records(instance).redact(redaction)

    def shown(asset: str, label: str) -> object:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event and event.asset_materialization
        return event.asset_materialization.metadata[label].value

    assert shown("raw_images", "map") == NO_PICTURE
    assert shown("raw_images", "variance") == PICTURE.value  # contains only numbers
    assert shown("pca_components", "map") == PICTURE.value  # its metadata rules out photos


def test_pages_of_deleted_rows_are_wiped(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    [run] = instance.get_runs(filters=dg.RunsFilter(job_name="_first_edition"))
    instance.run_storage.delete_run(run.run_id)
    Records(instance).redact(redaction)
    assert files_with("zq7-anna", home) == []


def test_other_files_in_dagsters_home_are_reported_but_not_changed(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path, tmp_path: Path
) -> None:
    (home / "notes.txt").write_text(PATH)
    outside = tmp_path / "document.txt"
    outside.write_text(PATH)
    (home / "storage" / "link").symlink_to(outside)
    records = Records(instance)
    records.redact(redaction)
    assert records.scan(redaction.needles).hits == (str(home / "notes.txt"),)
    assert (home / "notes.txt").read_text() == outside.read_text() == PATH


def test_storage_and_input_in_dagsters_home_are_not_redacted_as_records(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    storage = home / "storage" / "data"
    storage.mkdir()
    (storage / "pending.json").write_text(PATH)
    records = Records(instance, (Location("file", str(storage)),))
    records.redact(redaction)
    assert records.scan(redaction.needles).n_hits == 0
    assert (storage / "pending.json").read_text() == PATH


def test_spill_files_of_a_killed_spark_in_dagsters_home_are_deleted(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from spark_src.spark.scratch import make_scratch;"
        "own = make_scratch(Path(sys.argv[1]) / '_scratch') / 'blockmgr-1';"
        "own.mkdir(); (own / 'rdd_0').write_bytes(b'photo of zq7-anna');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(home)], env=environment, check=False)
    assert len(list((home / "_scratch").iterdir())) == 1
    Records(instance).redact(redaction)
    assert list((home / "_scratch").iterdir()) == []


def test_databases_and_logs_outside_dagsters_home_are_redacted_too(
    tmp_path: Path, home: Path, redaction: Redaction
) -> None:
    folders = [str(tmp_path / name) for name in ("databases", "artifacts")]
    root = {"module": "dagster._core.storage.root", "class": "LocalArtifactStorage"}
    config = {
        "storage": {"sqlite": {"base_dir": folders[0]}},
        "local_artifact_storage": {**root, "config": {"base_dir": folders[1]}},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    (home / "logs").mkdir()
    (home / "logs" / "event.log").write_text(f"read {PATH}\n")
    with dg.DagsterInstance.get() as instance:
        instance.add_run(dg.DagsterRun("job", tags={"path": PATH}))
        instance.daemon_cursor_storage.set_cursor_values({"cursor": PATH})
        stored = Path(instance.storage_directory()) / "run-0"
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(PATH)
        records = Records(instance)
        assert records.scan(redaction.needles).n_hits >= 3
        assert records.redact(redaction) >= 4
        assert files_with("zq7-anna", home, *folders) == []
        assert records.scan(redaction.needles).n_hits == 0


def test_a_name_in_tags_and_partitions_is_redacted(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path
) -> None:
    instance.add_run(dg.DagsterRun("job", tags={"person": NAME, "dagster/partition": NAME}))
    instance.add_dynamic_partitions("people", [NAME, "ben-22c"])
    instance.report_runless_asset_event(dg.AssetMaterialization("a", partition=NAME))
    Records(instance).redact(redaction)
    assert files_with("zq7-anna", home) == []
    assert "ben-22c" in instance.get_dynamic_partitions("people")


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_a_side_file_without_its_database_is_deleted(
    instance: dg.DagsterInstance, redaction: Redaction, home: Path, suffix: str
) -> None:
    orphan = home / "history" / "runs" / f"gone.db{suffix}"
    orphan.write_bytes(b"page" + PATH.encode())
    records = Records(instance)
    assert records.redact(redaction) >= 1
    assert not orphan.exists()
    assert records.scan(redaction.needles).n_hits == 0


class _LogsElsewhere:
    """Stands for S3ComputeLogManager: the logs are not on this machine."""


def test_records_that_cannot_be_scanned_are_refused(
    instance: dg.DagsterInstance,
) -> None:
    records = Records(instance)
    records.require_supported()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "_compute_log_manager", _LogsElsewhere())
        with pytest.raises(ErasureError, match=r"_LogsElsewhere, .* LocalComputeLogManager"):
            records.require_supported()
