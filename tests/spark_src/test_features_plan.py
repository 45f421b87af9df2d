"""Only features that no run has computed are planned, and every row gets its own vector.

The vectors here identify their picture; the network's output is tested elsewhere.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spark_src.features.interrupted import STAGED
from spark_src.features.plan import FeaturesPlan
from spark_src.images import plan as ingest_plan
from tests.pipeline import table_of, tables_in
from tests.spark_src.marked_features import Features, compute_task, jpeg


@pytest.fixture
def features(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Features:
    """Twelve different pictures, three per file."""
    monkeypatch.setattr(ingest_plan, "MIN_ROWS", 3)
    made = Features(spark, tables_in(tmp_path / "storage"), tmp_path / "in")
    for number in range(12):
        made.put(f"A/{number:02}.jpg", jpeg(number * 20))
    return made


def counts(plan: FeaturesPlan) -> tuple[int, int, int]:
    return plan.n_computed, plan.carried_over, plan.resumed


def test_the_first_run_computes_each_picture_and_the_next_one_none(features: Features) -> None:
    plan, _ = features.refresh()
    assert counts(plan) == (12, 0, 0)
    assert "There are no earlier features." in str(plan)
    again = features.plan()
    assert counts(again) == (0, 12, 0)
    assert again.is_empty


def test_only_new_pictures_are_computed_and_existing_files_kept(
    features: Features,
) -> None:
    _, first = features.refresh()
    features.put("B/new.jpg", jpeg(7))
    plan, second = features.refresh()
    assert counts(plan) == (1, 12, 0)
    assert set(first.files) < set(second.files)


def test_removing_a_picture_does_not_recompute_its_neighbours(
    features: Features,
) -> None:
    _, first = features.refresh()
    (features.source / "A" / "04.jpg").unlink()
    plan, second = features.refresh()
    assert counts(plan) == (0, 11, 0)
    assert len(set(first.files) - set(second.files)) == 1


def test_a_moved_picture_is_not_recomputed(features: Features) -> None:
    features.refresh()
    (features.source / "A").rename(features.source / "moved")
    plan, _ = features.refresh()
    assert counts(plan) == (0, 12, 0)


def test_the_same_picture_under_several_paths_is_computed_once_in_one_run(
    features: Features,
) -> None:
    for number in range(12):
        features.put(f"B/{number:02}.jpg", jpeg(number * 20))
    features.put("A/00 again.jpg", jpeg(0))
    plan, made = features.refresh()
    assert counts(plan) == (12, 0, 0)
    assert made.rows == 25


def test_a_copy_of_a_known_picture_is_not_computed(features: Features) -> None:
    features.refresh()
    features.put("B/copy.jpg", jpeg(60))
    plan, _ = features.refresh()
    assert counts(plan) == (0, 13, 0)


def test_the_same_content_in_another_orientation_is_another_picture(features: Features) -> None:
    features.put("B/turned.jpg", jpeg(20, orientation=3))
    plan, made = features.refresh()
    ids = {row["path"]: row["image_id"] for row in table_of(made).to_pylist()}
    assert ids["B/turned.jpg"] == ids["A/01.jpg"]
    assert counts(plan) == (13, 0, 0)
    features.put("A/01.jpg", jpeg(20, orientation=6))
    plan, _ = features.refresh()
    assert counts(plan) == (1, 12, 0)


def test_merged_files_are_not_recomputed(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_plan, "MIN_ROWS", 3)
    monkeypatch.setattr(ingest_plan, "MAX_SMALL_FILES", 2)
    for number in range(4):
        features.put(f"B/{number}.jpg", jpeg(number + 1))
        _, made = features.refresh()
    plan = features.plan()
    assert plan.is_empty
    assert made.record.rows_added == made.record.rows_removed + 1 == 4
    assert table_of(made).num_rows == 16


def test_features_of_another_model_are_recomputed_with_a_note(
    features: Features,
) -> None:
    _, made = features.refresh()
    plan = features.plan(model="another model's digest")
    assert counts(plan) == (12, 0, 0)
    assert set(plan.removed) == set(made.files)
    assert "was computed by another model" in str(plan)


def test_features_of_other_pixels_are_recomputed_with_a_note(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    features.refresh()
    monkeypatch.setattr("spark_src.features.plan.PIXELS", "other pixels")
    plan = features.plan()
    assert counts(plan) == (12, 0, 0)
    assert "used other pixels" in str(plan)


def test_all_features_can_be_recomputed_on_request(
    features: Features,
) -> None:
    _, first = features.refresh()
    plan = features.plan(recompute=True)
    assert counts(plan) == (12, 0, 0)
    second = features.finish(plan)
    assert not set(first.files) & set(second.files)
    assert features.plan().is_empty


def test_complete_files_of_a_killed_run_are_adopted_in_place(features: Features) -> None:
    plan = features.plan()
    finished = features.compute(plan, plan.computations[:2])
    again, made = features.refresh()
    assert counts(again) == (6, 0, 6)
    assert set(again.adopted) == set(finished) < set(made.files)


@pytest.mark.parametrize("damage", ["cut short", "empty", "of another length"])
def test_an_incomplete_file_of_a_killed_run_is_not_adopted(features: Features, damage: str) -> None:
    plan = features.plan()
    (file,) = features.compute(plan, plan.computations[:1])
    path = Path(features.tables.prefix("mobilenet_features").path, file.name)
    if damage == "of another length":
        task = replace(plan.computations[0], rows=plan.computations[0].rows[:2])
        compute_task(task, features.tables.prefix("mobilenet_features"), plan)
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut short" else b"")
    again, _ = features.refresh()
    assert counts(again) == (12, 0, 0)


def test_pictures_staged_by_a_killed_run_are_not_recomputed(
    features: Features,
) -> None:
    features.put("A/00 again.jpg", jpeg(0))
    features.put("A/03 again.jpg", jpeg(60))
    plan = features.plan()
    staged = [file for file in features.compute(plan) if file.name.startswith(STAGED)]
    assert staged
    again, _ = features.refresh()
    assert again.n_computed == 0
    assert again.resumed == 14
    assert not Path(features.tables.prefix("mobilenet_features").path, STAGED).exists()


def test_a_truncated_staged_file_is_ignored(features: Features) -> None:
    features.put("A/00 again.jpg", jpeg(0))
    plan = features.plan()
    (staged,) = (file for file in features.compute(plan) if file.name.startswith(STAGED))
    path = Path(features.tables.prefix("mobilenet_features").path, staged.name)
    path.write_bytes(path.read_bytes()[:1000])
    again, _ = features.refresh()
    assert again.n_computed == staged.rows


def test_staged_files_are_not_overwritten_when_more_rows_are_computed(
    features: Features,
) -> None:
    shutil.rmtree(features.source)
    names = [f"{number}.jpg" for number in range(5)]
    for name, colour in zip(names, (0, 20, 40, 60, 40), strict=True):
        features.put(name, jpeg(colour))  # the last one is a copy, in another file
    plan = features.plan()
    features.compute(plan, [task for task in plan.computations if task.name.startswith(STAGED)])
    (features.source / "2.jpg").unlink()
    again, _ = features.refresh()
    assert counts(again) == (3, 0, 1)


def change_something(features: Features, dice: random.Random) -> None:
    there = sorted(features.source.rglob("*.jpg"))
    for file in dice.sample(there, dice.randrange(4)):
        file.unlink()
    for _ in range(dice.randrange(6)):
        name = f"{dice.choice('AB')}/{dice.randrange(40):02}.jpg"
        features.put(name, jpeg(dice.randrange(12) * 20, dice.choice([1, 1, 3])))


@pytest.mark.parametrize("seed", range(4))
def test_after_changes_and_killed_runs_every_row_has_its_own_vector(
    features: Features, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(ingest_plan, "MAX_SMALL_FILES", 3)
    dice = random.Random(seed)  # noqa: S311
    for _ in range(8):
        change_something(features, dice)
        if dice.random() < 0.6:
            plan = features.plan()
            finished = dice.randrange(len(plan.computations) + 1)
            features.compute(plan, dice.sample(plan.computations, finished))
        else:
            features.refresh()
    plan, _ = features.refresh()
    assert plan.images.rows == len(list(features.source.rglob("*.jpg")))


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_features"])
def test_a_table_compacted_by_another_program_is_not_recomputed(
    features: Features, asset: str
) -> None:
    features.refresh()
    folder = features.tables.prefix(asset).path
    compacted = DeltaTable(folder).optimize.compact()
    DeltaTable(folder).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert (compacted["numFilesRemoved"], compacted["numFilesAdded"]) == (4, 1)
    plan, made = features.refresh()
    assert counts(plan) == (0, 12, 0)
    assert made.rows == 12
    assert features.plan().is_empty
    features.put("B/new.jpg", jpeg(7))
    plan, _ = features.refresh()
    assert counts(plan) == (1, 12, 0)
