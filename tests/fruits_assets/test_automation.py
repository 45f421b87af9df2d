"""New pictures in the input are materialized automatically, in batches, with downstream assets."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from fruits_assets import automation
from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings
from tests.fruits_assets.conftest import evaluate_sensor

Look = dg.SensorResult | dg.SkipReason


class Watched:
    """A sensor of a folder, with its cursor."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "input"
        settings = Settings(storage=str(folder / "data"), input=str(self.input))
        self.definitions = build_defs(settings)
        made = self.definitions.resources or {}
        self.resources = {name: made[name] for name in ("input_folder", "storage")}
        self.cursor: str | None = None
        self.instance = dg.DagsterInstance.ephemeral()

    def add(self, name: str) -> Path:
        self.input.mkdir(exist_ok=True)
        file = self.input / name
        file.write_bytes(b"a picture")
        return file

    def evaluate(self) -> Look:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources=self.resources,
            definitions=self.definitions,
            sensor_name=automation.SENSOR,
        ) as context:
            found = evaluate_sensor(context)
        self.cursor = getattr(found, "cursor", None) or context.cursor
        assert isinstance(found, Look)
        return found

    def settle(self) -> str:
        """Evaluate until a run is requested; return its run key."""
        while isinstance(found := self.evaluate(), dg.SkipReason):
            assert "none of them new" not in str(found.skip_message)
        return request(found).run_key or ""


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def request(look: Look) -> dg.RunRequest:
    assert isinstance(look, dg.SensorResult), look
    assert look.run_requests
    assert len(look.run_requests) == 1
    return look.run_requests[0]


def asked(look: Look) -> set[str]:
    return {key.to_user_string() for key in request(look).asset_selection or ()}


def skipped(look: Look) -> str:
    assert isinstance(look, dg.SkipReason), look
    return str(look.skip_message)


def test_a_run_is_requested_once_no_more_pictures_arrive(watched: Watched) -> None:
    watched.add("1.jpg")
    assert "waiting until no more arrive" in skipped(watched.evaluate())
    watched.add("2.jpg")
    assert "waiting until no more arrive" in skipped(watched.evaluate())
    assert asked(watched.evaluate()) == {"raw_images", "rejected_images", "mobilenet_model"}
    assert "2 files, none of them new" in skipped(watched.evaluate())


def test_an_endless_stream_of_pictures_is_processed_in_batches(watched: Watched) -> None:
    for number in range(automation.MAX_EVALUATIONS):
        watched.add(f"{number}.jpg")
        skipped(watched.evaluate())
    watched.add("one more.jpg")
    assert "raw_images" in asked(watched.evaluate())
    watched.add("the next batch.jpg")
    skipped(watched.evaluate())


def test_a_deleted_picture_is_detected(watched: Watched) -> None:
    watched.add("1.jpg")
    watched.add("2.jpg")
    watched.settle()
    (watched.input / "1.jpg").unlink()
    skipped(watched.evaluate())
    assert "raw_images" in asked(watched.evaluate())


def test_a_picture_replaced_by_one_of_the_same_size_is_detected(watched: Watched) -> None:
    file = watched.add("1.jpg")
    watched.settle()
    file.write_bytes(b"b picture")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    assert "waiting until no more arrive" in skipped(watched.evaluate())
    assert "raw_images" in asked(watched.evaluate())


def test_an_input_that_returns_to_an_earlier_state_is_materialized_again(watched: Watched) -> None:
    """Dagster starts one run per run key, and ignores known keys."""
    watched.add("1.jpg")
    file = watched.add("2.jpg")
    keys = [watched.settle()]
    for _ in range(2):
        file.rename(watched.input.parent / file.name)
        keys.append(watched.settle())
        (watched.input.parent / file.name).rename(file)
        keys.append(watched.settle())
    assert len(set(keys)) == len(keys)


def test_a_repeated_evaluation_requests_the_same_run_key(
    watched: Watched,
) -> None:
    watched.add("1.jpg")
    watched.evaluate()
    before = watched.cursor
    key = request(watched.evaluate()).run_key
    watched.cursor = before  # as if the daemon died before storing the new cursor
    assert request(watched.evaluate()).run_key == key


def test_after_a_cursor_reset_the_same_input_is_materialized_again(watched: Watched) -> None:
    watched.add("1.jpg")
    key = watched.settle()
    watched.cursor = None
    assert watched.settle() != key


def finish(watched: Watched, key: str, status: dg.DagsterRunStatus) -> None:
    """Store a run with that key in the instance."""
    tags = {"dagster/run_key": key, "dagster/sensor_name": automation.SENSOR}
    watched.instance.create_run_for_job(
        watched.definitions.resolve_implicit_global_asset_job_def(), tags=tags, status=status
    )


def test_a_failed_run_is_requested_again_a_few_times(watched: Watched) -> None:
    watched.add("1.jpg")
    keys = [watched.settle()]
    for _ in range(automation.MAX_FAILURES):
        assert "none of them new" in skipped(watched.evaluate())
        finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
        keys.append(request(watched.evaluate()).run_key or "")
    finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
    assert "none of them new" in skipped(watched.evaluate())
    watched.add("2.jpg")
    keys.append(watched.settle())
    finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
    keys.append(request(watched.evaluate()).run_key or "")
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "status",
    [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED],
)
def test_a_run_that_did_not_fail_is_not_repeated(
    watched: Watched, status: dg.DagsterRunStatus
) -> None:
    watched.add("1.jpg")
    finish(watched, watched.settle(), status)
    assert "none of them new" in skipped(watched.evaluate())


def test_ignored_files_do_not_cause_a_run(watched: Watched) -> None:
    watched.add("1.jpg")
    watched.settle()
    watched.add(".DS_Store")
    assert "1 file, none of them new" in skipped(watched.evaluate())


def test_cursor_and_messages_do_not_grow_with_the_input(watched: Watched) -> None:
    watched.add("1.jpg")
    few = [skipped(watched.evaluate()), watched.cursor]
    for number in range(3_000):
        watched.add(f"{number:05}-with-a-long-name-that-would-be-seen.jpg")
    many = [skipped(watched.evaluate()), watched.cursor]
    asked(watched.evaluate())
    for before, after in zip(few, many, strict=True):
        assert len(after or "") <= len(before or "") + 10
    assert len(watched.cursor or "") < 300


@pytest.mark.parametrize(
    "cursor",
    [
        '{"done": "a", "seen": "a", "looks": 0, "listed": ["1.jpg"]}',
        '{"done": null, "looks": "3", "runs": [1]}',
        '["1.jpg"]',
        "5",
        "2024-01-01T00:00:00",
    ],
)
def test_cursors_of_other_releases_are_accepted(watched: Watched, cursor: str) -> None:
    watched.add("1.jpg")
    watched.cursor = cursor
    assert "waiting until no more arrive" in skipped(watched.evaluate())
    assert "raw_images" in asked(watched.evaluate())


def test_a_missing_input_is_reported_and_causes_no_run(watched: Watched) -> None:
    assert "does not exist" in skipped(watched.evaluate())


def test_new_pictures_are_processed_by_all_downstream_assets(watched: Watched) -> None:
    on_host = {"embedding_quality", "data_health", "fruit_classifier", "label_issues"}
    graph = {"mobilenet_features", "pca_model", "pca_components", "csv_export", *on_host}
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in ("raw_images", "rejected_images", "mobilenet_model", *sorted(graph)):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset))
        first = dg.evaluate_automation_conditions(watched.definitions, instance)
        instance.report_runless_asset_event(dg.AssetMaterialization("raw_images"))
        then = dg.evaluate_automation_conditions(watched.definitions, instance, cursor=first.cursor)
        wanted = {asset for asset in graph if then.get_num_requested(dg.AssetKey(asset))}
    assert first.total_requested == 0
    assert wanted == graph
