"""What is new under the input is materialized by itself, in batches, and carried downstream."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from fruits_assets import automation
from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings

Look = dg.SensorResult | dg.SkipReason


class Watched:
    """A sensor of a folder, with what it remembers."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "input"
        settings = Settings(storage=str(folder / "data"), input=str(self.input))
        self.definitions = build_defs(settings)
        self._cursor: str | None = None

    def add(self, name: str) -> None:
        self.input.mkdir(exist_ok=True)
        (self.input / name).write_bytes(b"a picture")

    def look(self) -> Look:
        with dg.build_sensor_context(cursor=self._cursor) as context:
            found = self.definitions.resolve_sensor_def(automation.SENSOR)(context)
        self._cursor = getattr(found, "cursor", None) or context.cursor
        assert isinstance(found, Look)
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def asked(look: Look) -> set[str]:
    assert isinstance(look, dg.SensorResult), look
    assert look.run_requests
    assert len(look.run_requests) == 1
    return {key.to_user_string() for key in look.run_requests[0].asset_selection or ()}


def skipped(look: Look) -> str:
    assert isinstance(look, dg.SkipReason), look
    return str(look.skip_message)


def test_pictures_are_asked_for_once_no_more_come(watched: Watched) -> None:
    watched.add("1.jpg")
    assert "waits until no more come" in skipped(watched.look())
    watched.add("2.jpg")
    assert "waits until no more come" in skipped(watched.look())
    assert asked(watched.look()) == {"raw_images", "rejected_images", "mobilenet_model"}
    assert "2 files, none of them new" in skipped(watched.look())


def test_a_stream_of_pictures_that_never_ends_is_taken_in_batches(watched: Watched) -> None:
    for number in range(automation.PATIENCE):
        watched.add(f"{number}.jpg")
        skipped(watched.look())
    watched.add("one more.jpg")
    assert "raw_images" in asked(watched.look())
    watched.add("the next batch.jpg")
    skipped(watched.look())


def test_a_picture_that_went_is_noticed_too(watched: Watched) -> None:
    watched.add("1.jpg")
    watched.add("2.jpg")
    watched.look()
    asked(watched.look())
    (watched.input / "1.jpg").unlink()
    skipped(watched.look())
    assert "raw_images" in asked(watched.look())


def test_an_input_that_is_missing_is_named_and_asked_for_nothing(watched: Watched) -> None:
    assert "does not exist" in skipped(watched.look())


def test_new_pictures_are_carried_through_the_whole_graph(watched: Watched) -> None:
    graph = {"mobilenet_features", "pca_model", "pca_components", "csv_export", "embedding_quality"}
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in ("raw_images", "rejected_images", "mobilenet_model", *sorted(graph)):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset))
        first = dg.evaluate_automation_conditions(watched.definitions, instance)
        instance.report_runless_asset_event(dg.AssetMaterialization("raw_images"))
        then = dg.evaluate_automation_conditions(watched.definitions, instance, cursor=first.cursor)
        wanted = {asset for asset in graph if then.get_num_requested(dg.AssetKey(asset))}
    assert first.total_requested == 0
    assert wanted == graph
