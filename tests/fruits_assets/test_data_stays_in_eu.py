"""A bucket outside the region is refused before data is transferred, and the check reports it."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import requests as requests_library
from typer.testing import CliRunner

from fruits_assets.checks.file_integrity import CHECK_JOB_NAME
from fruits_assets.checks.grouping import op_name
from fruits_assets.cli.main import CANNOT_RUN, app
from fruits_assets.definitions import build_defs, resources
from fruits_assets.io_managers import DeltaIOManager
from fruits_assets.resources import AssetStorage, InputFolder, ModelWeights, PictureSource
from fruits_assets.settings import Settings
from spark_src.io.aws import client

REGION = "eu-west-1"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CHECK = "data_stays_in_eu"

Requests = Callable[[str], set[str]]


@pytest.fixture
def american(aws: str) -> str:  # noqa: ARG001
    """A bucket in us-east-1 with a picture."""
    name = f"fruits-{uuid.uuid4().hex[:12]}"
    s3 = client("s3", "us-east-1")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="store/Training/Apple/1.jpg", Body=b"picture")
    return name


@pytest.fixture
def requests(caplog: pytest.LogCaptureFixture) -> Requests:
    """The requests to a bucket on the S3 server: method, and path after the bucket."""
    caplog.set_level(logging.INFO, "werkzeug")

    def asked(bucket: str) -> set[str]:
        pattern = re.compile(rf"([A-Z]+) /{bucket}(\S*) HTTP")
        found = (pattern.search(message) for message in caplog.messages)
        return {f"{match[1]} {match[2]}" for match in found if match}

    return asked


INSPECTED = {"GET ?location", "GET ?publicAccessBlock", "GET ?encryption"}
"""Requests for the properties of a bucket, not for its contents."""


def refused(result: dg.ExecuteInProcessResult) -> str:
    """The error message of a run that failed before its first step."""
    assert not result.success
    assert not result.filter_events(lambda event: event.is_step_start)
    (failure,) = result.filter_events(lambda event: event.is_run_failure)
    error = failure.job_failure_data.error
    return error.to_string() if error else ""


def verdict(settings: Settings) -> dg.AssetCheckEvaluation:
    """The result of this check, from the op of the asset's checks."""
    job = build_defs(settings).resolve_job_def(CHECK_JOB_NAME)
    result = job.execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        op_selection=[op_name("raw_images")],
        run_config={"log_level": "CRITICAL"},
        raise_on_error=False,
    )
    (found,) = (one for one in result.get_asset_check_evaluations() if one.check_name == CHECK)
    return found


FIT = {"region": "eu-west-1", "public access": "blocked", "default encryption": "aws:kms"}


def buckets(found: dg.AssetCheckEvaluation) -> list[object]:
    """The buckets in the check's metadata."""
    table = found.metadata["buckets"]
    assert isinstance(table, dg.TableMetadataValue)
    return [record.data for record in table.records]


@pytest.mark.parametrize(
    ("setting", "made"),
    [("input", "raw_images"), ("storage", "mobilenet_model"), ("weights", "mobilenet_model")],
)
def test_a_bucket_elsewhere_is_refused_before_anything_in_it_is_read(
    *, setting: str, made: str, american: str, requests: Requests, tmp_path: Path
) -> None:
    places = {"storage": str(tmp_path / "data"), setting: f"s3://{american}/store"}
    graph = build_defs(Settings(**places))
    before = requests(american)
    selection = dg.AssetSelection.assets(made).required_multi_asset_neighbors()
    result = graph.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=dg.DagsterInstance.ephemeral(),
        asset_selection=sorted(selection.resolve(graph.resolve_asset_graph())),
        run_config=QUIET,
        raise_on_error=False,
    )
    assert f"ResidencyError: s3://{american} is in us-east-1" in refused(result)
    assert requests(american) - before == INSPECTED
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["path", "csv_export"],
        ["cost", "--images", "9"],
        ["cluster-env", "push"],
        ["embed", "photo.jpg"],
        ["history", "raw_images"],
        ["fetch-dataset"],
        ["classify", "photo.jpg"],
        ["search", "photo.jpg"],
        ["label-next"],
        ["compare", "candidate"],
        ["cluster", "start"],
        ["cluster", "notebook"],
        ["run"],
        ["erase", "--subject", "4711", "--dry-run"],
    ],
    ids=" ".join,
)
def test_a_command_only_requests_the_region_of_a_bucket_elsewhere(
    command: list[str],
    american: str,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"s3://{american}/store"
    monkeypatch.setenv("FRUITS_STORAGE", place)
    monkeypatch.setattr(requests_library, "get", lambda *_, **__: pytest.fail("a download began"))
    before = requests(american)
    to = ["--to", place] if command == ["fetch-dataset"] else []
    result = CliRunner().invoke(app, [*command, *to])
    assert result.exit_code == CANNOT_RUN
    assert f"s3://{american} is in us-east-1" in result.stderr
    assert requests(american) - before == INSPECTED


@pytest.mark.parametrize("command", ["embed", "classify", "search", "compare"])
def test_an_argument_in_a_bucket_elsewhere_is_not_read(
    command: str,
    american: str,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(tmp_path / "data"))
    before = requests(american)
    result = CliRunner().invoke(app, [command, f"s3://{american}/photo.jpg"])
    assert result.exit_code == CANNOT_RUN
    assert f"s3://{american} is in us-east-1" in result.stderr
    assert requests(american) - before == INSPECTED


def test_doctor_does_not_list_a_folder_in_a_bucket_elsewhere(
    american: str, requests: Requests
) -> None:
    before = requests(american)
    result = CliRunner().invoke(app, ["doctor", f"s3://{american}/store"])
    assert result.exit_code == CANNOT_RUN
    assert "is in us-east-1" in " ".join(result.stdout.split())
    assert requests(american) - before == INSPECTED


def test_london_is_refused_before_any_request_to_an_american_bucket(
    american: str, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_REGION", "eu-west-2")
    before = requests(american)
    place = f"s3://{american}/store"
    result = CliRunner().invoke(app, ["fetch-dataset", "--to", place])
    assert result.exit_code == CANNOT_RUN
    assert "London is not in the EU" in result.stderr
    assert requests(american) == before


def test_an_input_in_the_region_is_inspected_and_then_listed(
    bucket: str, requests: Requests
) -> None:
    client("s3", REGION).put_object(Bucket=bucket, Key="in/Training/Apple/1.jpg", Body=b"picture")
    before = requests(bucket)
    with dg.build_resources({"source": PictureSource(uri=f"s3://{bucket}/in")}) as made:
        assert made.source.listing().n_pictures == 1
    asked = requests(bucket) - before
    assert asked >= INSPECTED
    assert any("list-type" in request for request in asked)


def test_a_storage_that_only_an_io_manager_uses_is_refused_too(
    american: str, requests: Requests
) -> None:
    @dg.asset
    def anything() -> None:
        raise AssertionError("The asset was made")

    storage = AssetStorage(root=f"s3://{american}/store")
    manager = DeltaIOManager(storage=storage)
    before = requests(american)
    result = dg.materialize(
        [anything],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"io_manager": manager},
        run_config=QUIET,
        raise_on_error=False,
    )
    assert f"ResidencyError: s3://{american} is in us-east-1" in refused(result)
    assert requests(american) - before == INSPECTED


@pytest.mark.parametrize(
    "kind",
    [AssetStorage, InputFolder, PictureSource, ModelWeights],
    ids=lambda kind: str(kind.__name__),
)
def test_each_resource_checks_the_region_of_its_bucket(
    kind: type[dg.ConfigurableResource[object]], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    place = "root" if kind is AssetStorage else "uri"
    resource = kind(**{place: f"s3://{bucket}/x"})
    refusal = pytest.raises(dg.DagsterResourceFunctionError)
    with refusal as caught, dg.build_resources({"one": resource}):
        pass
    assert "is in eu-west-1, not in the configured eu-west-3" in str(caught.value.__cause__)


def test_the_region_of_the_settings_is_that_of_every_resource(bucket: str) -> None:
    made = resources(
        Settings(region="eu-west-3", storage=f"s3://{bucket}/x", input=f"s3://{bucket}")
    )
    for name in ("storage", "source", "input_folder"):
        refusal = pytest.raises(dg.DagsterResourceFunctionError)
        with refusal as caught, dg.build_resources({name: made[name]}):
            pass
        assert "not in the configured eu-west-3" in str(caught.value.__cause__)
    (finding,) = made["residency"].findings()
    assert finding.configured == "eu-west-3"


def test_the_sensor_and_the_erase_job_use_an_overridden_input(
    tmp_path: Path,
) -> None:
    other = PictureSource(uri=f"file://{tmp_path}")
    made = resources(Settings(), {"source": other})
    assert made["input_folder"].root == other.root


def test_the_check_passes_if_everything_is_local(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    found = verdict(Settings(storage=nowhere, input=nowhere, weights=nowhere))
    assert found.passed
    assert found.description == "all data is on this machine"


def test_the_check_shows_the_properties_of_a_valid_bucket(bucket: str, tmp_path: Path) -> None:
    found = verdict(Settings(storage=str(tmp_path), input=f"s3://{bucket}/empty"))
    assert found.passed
    assert found.description == (
        f"s3://{bucket}: in eu-west-1, public access blocked, encrypted by default"
    )
    assert buckets(found) == [FIT | {"bucket": bucket}]


@pytest.mark.parametrize("setting", ["input", "weights"])
def test_the_check_fails_and_shows_each_bucket_if_one_is_elsewhere(
    setting: str, bucket: str, american: str
) -> None:
    places = {"storage": f"s3://{bucket}/store", setting: f"s3://{american}/store"}
    found = verdict(Settings(**places))
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert str(found.description).startswith(f"s3://{american} is in us-east-1")
    unfit = {"region": "us-east-1", "public access": "NOT BLOCKED", "default encryption": "NONE"}
    table = buckets(found)
    assert FIT | {"bucket": bucket} in table
    assert unfit | {"bucket": american} in table


def test_the_check_of_a_missing_bucket_is_an_error_that_names_it(aws: str, tmp_path: Path) -> None:
    found = verdict(Settings(storage=str(tmp_path), input=f"s3://fruits-nowhere/{aws[-1]}"))
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.metadata["error"].value == "AwsError"
    assert str(found.description).startswith("Inspecting s3://fruits-nowhere")
