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

    def look(self) -> Look:
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
        while isinstance(found := self.look(), dg.SkipReason):
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


def test_pictures_are_asked_for_once_no_more_come(watched: Watched) -> None:
    watched.add("1.jpg")
    assert "waiting until no more arrive" in skipped(watched.look())
    watched.add("2.jpg")
    assert "waiting until no more arrive" in skipped(watched.look())
    assert asked(watched.look()) == {"raw_images", "rejected_images", "mobilenet_model"}
    assert "2 files, none of them new" in skipped(watched.look())


def test_a_stream_of_pictures_that_never_ends_is_taken_in_batches(watched: Watched) -> None:
    for number in range(automation.MAX_EVALUATIONS):
        watched.add(f"{number}.jpg")
        skipped(watched.look())
    watched.add("one more.jpg")
    assert "raw_images" in asked(watched.look())
    watched.add("the next batch.jpg")
    skipped(watched.look())


def test_a_picture_that_went_is_noticed_too(watched: Watched) -> None:
    watched.add("1.jpg")
    watched.add("2.jpg")
    watched.settle()
    (watched.input / "1.jpg").unlink()
    skipped(watched.look())
    assert "raw_images" in asked(watched.look())


def test_a_picture_that_was_replaced_by_one_of_the_same_size_is_noticed(watched: Watched) -> None:
    file = watched.add("1.jpg")
    watched.settle()
    file.write_bytes(b"b picture")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    assert "waiting until no more arrive" in skipped(watched.look())
    assert "raw_images" in asked(watched.look())


def test_an_input_that_becomes_what_it_was_is_materialized_again(watched: Watched) -> None:
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


def test_the_same_look_asks_for_the_same_run_so_that_a_crash_makes_no_second_one(
    watched: Watched,
) -> None:
    watched.add("1.jpg")
    watched.look()
    before = watched.cursor
    key = request(watched.look()).run_key
    watched.cursor = before  # as if the daemon died before storing the new cursor
    assert request(watched.look()).run_key == key


def test_after_the_cursor_was_reset_the_same_input_is_materialized_again(watched: Watched) -> None:
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


def test_a_run_that_failed_is_asked_for_again_a_few_times(watched: Watched) -> None:
    watched.add("1.jpg")
    keys = [watched.settle()]
    for _ in range(automation.MAX_FAILURES):
        assert "none of them new" in skipped(watched.look())
        finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
        keys.append(request(watched.look()).run_key or "")
    finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
    assert "none of them new" in skipped(watched.look())
    watched.add("2.jpg")
    keys.append(watched.settle())
    finish(watched, keys[-1], dg.DagsterRunStatus.FAILURE)
    keys.append(request(watched.look()).run_key or "")
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
    assert "none of them new" in skipped(watched.look())


def test_what_systems_leave_beside_pictures_is_no_reason_for_a_run(watched: Watched) -> None:
    watched.add("1.jpg")
    watched.settle()
    watched.add(".DS_Store")
    assert "1 file, none of them new" in skipped(watched.look())


def test_what_is_remembered_and_said_does_not_grow_with_the_input(watched: Watched) -> None:
    watched.add("1.jpg")
    few = [skipped(watched.look()), watched.cursor]
    for number in range(3_000):
        watched.add(f"{number:05}-with-a-long-name-that-would-be-seen.jpg")
    many = [skipped(watched.look()), watched.cursor]
    asked(watched.look())
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
def test_what_another_release_remembered_is_no_obstacle(watched: Watched, cursor: str) -> None:
    watched.add("1.jpg")
    watched.cursor = cursor
    assert "waiting until no more arrive" in skipped(watched.look())
    assert "raw_images" in asked(watched.look())


def test_an_input_that_is_missing_is_named_and_asked_for_nothing(watched: Watched) -> None:
    assert "does not exist" in skipped(watched.look())


def test_new_pictures_are_carried_through_the_whole_graph(watched: Watched) -> None:
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
