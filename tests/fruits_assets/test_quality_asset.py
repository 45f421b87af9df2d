"""`embedding_quality` of the sample: stored results, UI metadata, and no use of Spark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings
from spark_src.errors import UnreadableVersionError
from spark_src.evaluation import quality_files
from spark_src.evaluation.quality import Quality
from spark_src.tables.delta import Snapshot

Current = Callable[[Path, str], Snapshot]


def load(root: Path) -> Quality:
    definitions = build_defs(Settings(storage=str(root)))
    with dg.DagsterInstance.ephemeral() as instance:
        snapshot: Snapshot = definitions.load_asset_value("embedding_quality", instance=instance)
    return quality_files.load(snapshot)


def rows(value: dg.MetadataValue) -> list[Any]:
    assert isinstance(value, dg.TableMetadataValue)
    return [record.data for record in value.records]


def test_the_samples_fruits_are_recognised_from_a_held_out_axis(stored: Path) -> None:
    kind, fruit, photo = load(stored).answers
    assert fruit.scores is not None
    assert (fruit.scores.images, fruit.scores.classes) == (240, 3)
    assert fruit.scores.neighbours_of_components > 0.95
    assert fruit.scores.probe_of_components > 0.95
    assert str(kind.reason_not_asked).startswith("fewer than two classes")
    assert str(photo.reason_not_asked).startswith("there are no labelled photos")


def test_the_ui_shows_a_table_and_what_cannot_be_computed(
    whole_run: dg.ExecuteInProcessResult,
) -> None:
    (event,) = [
        event
        for event in whole_run.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("embedding_quality")
    ]
    metadata = event.materialization.metadata
    fruit = {row["measure"]: row["fruit"] for row in rows(metadata["accuracy"])}
    known = ["held out together", "images", "classes", "most frequent class"]
    assert [fruit[name] for name in known] == ["rotation axes", "240", "3", "33.3%"]
    kind, _ = rows(metadata["questions not asked"])
    assert (kind["question"], kind["held out together"]) == ("kind of fruit", "fruits")
    assert str(kind["reason"]).startswith("fewer than two")
    points = rows(metadata["explained variance by components"])
    assert {"components": 34, "explained variance": "at least 90%"} in points
    assert metadata["images compared"].value == 240


def test_it_is_built_on_the_host_without_spark(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr("fruits_assets.resources.LocalSpark._init_session", refuse)
    definitions = build_defs(Settings(storage=str(copied)))
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("embedding_quality")],
            run_config={"ops": {"embedding_quality": {"config": {"most_images": 100}}}},
        )
    assert result.success
    assert load(copied).sampled == 100
    assert (
        "step_launcher"
        not in definitions.resolve_assets_def("embedding_quality").required_resource_keys
    )


def test_a_damaged_file_is_reported_with_the_remedy(copied: Path, current: Current) -> None:
    file = Path(current(copied, "embedding_quality").data_location.path)
    file.write_text('{"answers": [{}]}')
    with pytest.raises(
        UnreadableVersionError, match=r"quality-\w+\.json cannot be read.*--select embedding"
    ):
        load(copied)


def test_missing_components_are_reported(tmp_path: Path) -> None:
    job = build_defs(Settings(storage=str(tmp_path))).resolve_implicit_global_asset_job_def()
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(dg.Failure, match=r"mobilenet_features has no current version"),
    ):
        job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("embedding_quality")]
        )
