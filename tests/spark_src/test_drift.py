"""Images that came are held to what the model before them knew; chance is told from change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from spark_src.assemble import TABLE
from spark_src.errors import UnreadableVersionError
from spark_src.evaluation import drift
from spark_src.evaluation.drift import Drift, chance, since_last_fit
from spark_src.features import incremental
from spark_src.io.locations import Location
from spark_src.pca import files as pca_files
from spark_src.pca.fit import fit_version
from spark_src.storage import Storage, Version
from spark_src.tables.vectors import float_lists

COMPONENTS = 5
BASIS = np.linalg.qr(np.random.default_rng(9).normal(size=(1280, COMPONENTS)))[0].T

Image = tuple[str, str]
"""Path, and what is on it."""


def vector(image: Image) -> NDArray[np.float32]:
    """Familiar pictures vary in five directions, and a little in all."""
    path, what = image
    random = np.random.default_rng(list(path.encode()))
    inside = random.normal(size=COMPONENTS) + (4 if what == "far" else 0)
    outside = random.normal(size=1280) * (0.1 if what == "strange" else 0.02)
    return (inside @ BASIS + outside + 3).astype(np.float32)


def images(count: int, what: str = "familiar", split: str = "Training") -> list[Image]:
    return [(f"{split}/{what} {number:04}.jpg", what) for number in range(count)]


class History:
    """A storage in which features come, and PCA is fitted, in turn."""

    def __init__(self, spark: SparkSession, root: Path) -> None:
        self.versions = Storage(Location.parse(str(root)))
        self._spark = spark

    def features(self, shown: Sequence[Image], model: str = "digest") -> Version:
        draft = self.versions.begin("mobilenet_features", "run")
        rows = pd.DataFrame(sorted(shown), columns=["path", "what"])
        rows["split"] = rows["path"].str.split("/").str[0]
        rows["image_id"] = rows["path"] + " " + rows["what"]
        names = {name: pa.array(rows[name], pa.string()) for name in ("image_id", "path", "split")}
        vectors = np.stack([vector(image) for image in sorted(shown)])
        columns = names | {
            "label": pa.nulls(len(rows), pa.string()),
            "features": float_lists(vectors),
            "model": pa.array([model] * len(rows)),
        }
        folder = Path(draft.location.path)
        pq.write_table(pa.table(columns, schema=TABLE), folder / "part-0.parquet")
        index = rows[["path", "split", "image_id"]].assign(
            orientation=1, file="part-0.parquet", row=range(len(rows))
        )
        pq.write_table(pa.Table.from_pandas(index), folder / incremental.INDEX)
        splits = rows["split"].value_counts().to_dict()
        facts = {"rows": len(rows), "models": [model], "splits": splits}
        return self.versions.publish(draft, facts)

    def fit(self) -> Version:
        features = self.versions.current("mobilenet_features")
        fit = fit_version(self._spark, features, COMPONENTS, 0.1)
        draft = self.versions.begin("pca_model", "run")
        pca_files.save(fit.model, draft.location)
        drift.save(drift.reference(self._spark, features, fit), draft.location)
        return self.versions.publish(draft, fit.model.facts | {"features": fit.features})

    def compared(self) -> Drift:
        found = since_last_fit(self.versions)
        assert isinstance(found, Drift), found
        return found


@pytest.fixture
def history(spark: SparkSession, tmp_path: Path) -> History:
    """One whose PCA was fitted on 300 familiar images; 60 of another split are known, too."""
    begun = History(spark, tmp_path)
    begun.features([*images(300), *images(60, split="Test")])
    begun.fit()
    return begun


KNOWN = [*images(300), *images(60, split="Test")]


def test_images_like_the_old_ones_are_familiar(history: History) -> None:
    history.features([*KNOWN, *images(340)[300:]])
    found = history.compared()
    assert (found.came, found.looked_at) == (40, 40)
    assert found.familiar
    assert 0.9 < found.residual < 1.1
    assert found.shift < 0.5


def test_images_with_much_that_the_components_cannot_say_are_not(history: History) -> None:
    history.features([*KNOWN, *images(340)[300:], *images(10, "strange")])
    found = history.compared()
    assert found.came == 50
    assert found.beyond >= 10
    assert not found.familiar
    assert {path for path, _ in found.worst} == {path for path, _ in images(10, "strange")}
    ratios = [ratio for _, ratio in found.worst]
    assert ratios == sorted(ratios, reverse=True) and ratios[-1] > 2


def test_one_image_of_something_else_among_many_is_seen(history: History) -> None:
    history.features([*KNOWN, *images(340)[300:], *images(1, "strange")])
    found = history.compared()
    assert not found.familiar
    assert found.worst[0][0] == "Training/strange 0000.jpg"


def test_more_beyond_the_end_than_chance_explains_is_seen_though_none_is_far_beyond(
    history: History,
) -> None:
    history.features([*KNOWN, *images(30, "strange")])
    found = history.compared()
    slight = replace(found, worst=(("a.jpg", 1.1),), shift=0.0)
    assert not slight.familiar
    assert replace(slight, chance=0.01).familiar


def test_images_that_lie_elsewhere_within_the_components_are_not(history: History) -> None:
    history.features([*KNOWN, *images(40, "far")])
    found = history.compared()
    assert found.shift > drift.FAR
    assert not found.familiar
    assert not replace(found, chance=1.0, worst=()).familiar
    assert replace(found, chance=1.0, worst=(), shift=0.9).familiar


def test_the_fit_before_is_what_counts_also_when_pca_was_fitted_again(history: History) -> None:
    history.features([*KNOWN, *images(30, "strange")])
    before = history.compared()
    history.fit()
    assert history.compared() == before


def test_an_image_of_another_content_under_an_old_path_came(history: History) -> None:
    changed = [
        (path, "strange") if number < 4 else (path, what)
        for number, (path, what) in enumerate(KNOWN)
    ]
    history.features(changed)
    assert history.compared().came == 4


def test_the_reference_is_of_images_that_were_left_out(history: History) -> None:
    """Images that a model was fitted on fit it too well, above all where they are few."""
    few = History(history._spark, Path(history.versions.root.path) / "few")
    features = few.features(images(120))
    found = drift.load(few.fit().location)
    assert found is not None and len(found.residuals) == 12
    vectors = np.stack([vector(image) for image in images(120)])
    fit = fit_version(few._spark, features, COMPONENTS, 0.1)
    _, own = drift._inside_and_outside(vectors, fit.model)
    _, others = drift._inside_and_outside(
        np.stack([vector(i) for i in images(500)[120:]]), fit.model
    )
    distance = abs(np.median(found.residuals) - np.median(others))
    assert distance < abs(np.median(own) - np.median(others))


def test_without_new_images_or_an_earlier_fit_there_is_nothing_to_compare(
    spark: SparkSession, history: History, tmp_path: Path
) -> None:
    assert str(since_last_fit(history.versions)).startswith("no PCA is kept that was fitted before")
    history.features(KNOWN)
    assert since_last_fit(history.versions) == "no image came since the PCA before was fitted"
    fresh = History(spark, tmp_path / "fresh")
    fresh.features(KNOWN)
    assert str(since_last_fit(fresh.versions)).startswith("no PCA is kept")


def test_features_of_another_model_are_not_compared(history: History) -> None:
    history.features([*KNOWN, *images(5, "strange")], model="another")
    assert "another model" in str(since_last_fit(history.versions))


def test_a_pca_of_too_few_images_has_no_reference(spark: SparkSession, tmp_path: Path) -> None:
    tiny = History(spark, tmp_path / "tiny")
    tiny.features(images(20))
    assert drift.load(tiny.fit().location) is None
    tiny.features(images(30))
    assert "too few" in str(since_last_fit(tiny.versions))


def test_a_damaged_reference_is_named(history: History) -> None:
    file = Path(history.versions.current("pca_model").location.path) / drift.FILE
    file.write_bytes(b"nothing")
    with pytest.raises(UnreadableVersionError, match=rf"{drift.FILE} cannot be read"):
        drift.load(history.versions.current("pca_model").location)


def test_of_many_images_few_are_read_from_few_blocks_of_everywhere() -> None:
    rows = pd.DataFrame({"file": "a", "row": range(100 * drift.VECTORS_PER_BLOCK)})
    chosen = drift._spread(rows, 100)["row"]
    assert len(chosen) == 100
    assert (chosen // drift.VECTORS_PER_BLOCK).nunique() == drift.MOST_BLOCKS
    assert chosen.min() < drift.VECTORS_PER_BLOCK and chosen.max() > 99 * drift.VECTORS_PER_BLOCK


def test_the_chance_is_that_of_drawing_old_and_new_alike() -> None:
    assert chance(0, 50, 3, 300) == 1
    assert chance(1, 1, 1, 9) == pytest.approx(1 / 10)
    assert chance(2, 2, 1, 2) == pytest.approx(2 / 4 * 1 / 3)
    random = np.random.default_rng(5)
    old, new = random.normal(size=(20_000, 40)), random.normal(size=(20_000, 25))
    third = np.sort(old, axis=1)[:, -3]
    beyond = (new > third[:, None]).sum(axis=1)
    for count in (1, 3, 6):
        assert chance(count, 25, 3, 40) == pytest.approx((beyond >= count).mean(), abs=0.015)
