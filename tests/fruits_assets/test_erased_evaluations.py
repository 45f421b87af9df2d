"""After an erasure, the evaluation assets only depend on the remaining pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from fruits_assets.definitions import build_defs
from fruits_assets.erasure_job import JOB
from fruits_assets.settings import Settings
from spark_src.erasure import requests
from spark_src.erasure.target import Target
from spark_src.evaluation import classifier_files, health_files, label_issue_files
from spark_src.evaluation.class_sums_files import load_sums
from spark_src.io.locations import Location
from spark_src.pca.fit import load_current
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import HealthStatistics
from tests.pipeline import tables_in

SUBJECT = "anna-7f3"
QUIET = {"log_level": "CRITICAL"}


@pytest.fixture(scope="module")
def erased(
    sample: Path,
    stored: Path,
    run: Callable[..., dg.ExecuteInProcessResult],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Tables, int]:
    """Storage after an erasure, and the number of images the classifier was trained on before.
    Without a split `Training`, it was also trained on the person's photos: under a label that only
    they have, and copies of others' pictures.
    """
    folder = tmp_path_factory.mktemp("evaluated")
    source, root = folder / "input", Path(shutil.copytree(stored, folder / "data"))
    for number, picture in enumerate(sorted(sample.rglob("*.jpg"))[::3]):
        label = picture.parent.name
        theirs = source / "photos" / SUBJECT / ("Fig" if number % 2 else label)
        place = theirs if number % 8 < 2 else source / label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place / picture.name)
    shutil.copy(
        next((source / "Cherry 2").iterdir()), source / "photos" / SUBJECT / "Fig" / "c.jpg"
    )
    for turn, person in zip(Image.Transpose, (SUBJECT, "another"), strict=False):
        unlabelled = source / "photos" / person / "unlabelled.jpg"
        unlabelled.parent.mkdir(exist_ok=True)
        with Image.open(next((source / "Apple Golden 1").iterdir())) as picture:
            picture.transpose(turn).save(unlabelled)
    run(root, "*", source=source, ops={"pca_model": {"n_components": 5}})
    tables = tables_in(root)
    before = load_sums(
        tables.current("fruit_classifier").data_location / classifier_files.SUMS
    ).sums
    assert "Fig" in before.classes
    requests.add(tables, Location.parse(str(source)), Target.from_names(SUBJECT))
    job = build_defs(Settings(storage=str(root), input=str(source))).resolve_job_def(JOB)
    assert job.execute_in_process(run_config=QUIET).success
    return tables, before.sums.n_images


def test_the_classifier_equals_one_trained_on_the_remaining_images(
    erased: tuple[Tables, int],
) -> None:
    tables, before = erased
    snapshot = tables.current("fruit_classifier")
    kept, head = (
        load_sums(snapshot.data_location / classifier_files.SUMS).sums,
        classifier_files.load_head(snapshot),
    )
    assert 0 < kept.sums.n_images < before
    assert "Fig" not in kept.classes
    pca = load_current(tables.current("pca_model"))
    recomputed = classifier_files.train_head(tables.current("mobilenet_features"), None, pca)
    np.testing.assert_array_equal(kept.sums.gram, recomputed.stored.sums.sums.gram)
    np.testing.assert_array_equal(kept.totals, recomputed.stored.sums.totals)
    np.testing.assert_allclose(head.weights, recomputed.head.weights, rtol=0, atol=1e-9)
    np.testing.assert_allclose(head.offsets, recomputed.head.offsets, rtol=0, atol=1e-9)


def test_no_duplicate_or_doubtful_label_is_of_the_person(erased: tuple[Tables, int]) -> None:
    tables, _ = erased
    health = tables.current("data_health")
    assert health.typed(HealthStatistics).images == tables.current("raw_images").rows
    groups = health_files.load(health, health_files.GROUPS)
    labels = tables.current("label_issues")
    issues = label_issue_files.load(labels)
    to_label = label_issue_files.load(labels, label_issue_files.TO_LABEL)
    assert to_label["path"].tolist() == ["photos/another/unlabelled.jpg"]
    paths = [*groups["path"], *issues["path"]]
    assert paths
    assert not [path for path in paths if SUBJECT in path]
    ids = set(health_files.load(health, health_files.IMAGES)["image_id"])
    assert len(ids) == health.typed(HealthStatistics).images
