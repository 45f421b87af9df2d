"""Scores of constructed data, and questions that do not apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.quality import (
    Quality,
    Scores,
    Vectors,
    measure,
    read,
    shrunk_covariance,
)
from spark_src.io.locations import Location
from spark_src.pca.model import PcaModel, Sums, components_for, fit_sums
from spark_src.tables.delta import Snapshot, Tables, schema_of
from spark_src.tables.parquet import write_file
from spark_src.tables.statistics import (
    ComponentsStatistics,
    FeaturesStatistics,
    Statistics,
    VectorStatistics,
)

Matrix = NDArray[np.float32]
FRAMES = 12
LABELS = [f"{kind} {number}" for kind in ("Apple", "Pear") for number in range(4)]
AXES = ("r0", "r1", "r2")
STATISTICS: dict[str, Statistics] = {
    "mobilenet_features": FeaturesStatistics(
        digest="digest", model_sha256="model", preprocessing="", vectors=VectorStatistics()
    ),
    "pca_components": ComponentsStatistics(
        digest="digest",
        pca_model="pca",
        model_sha256="model",
        n_components=50,
        vectors=VectorStatistics(),
    ),
}


@pytest.fixture(scope="module")
def pca() -> PcaModel:
    """PCA of noise; only its number of components matters."""
    noise = np.random.default_rng(1).normal(size=(200, 1280)).astype(np.float32)
    return fit_sums(Sums.from_features(noise), 50, "model")


def film_frames() -> pd.DataFrame:
    rows = [
        (f"Training/{label}/{axis}_{frame}_100.jpg", label)
        for label in LABELS
        for axis in AXES
        for frame in range(FRAMES)
    ]
    return pd.DataFrame(rows, columns=["path", "label"])


def vectors(images: pd.DataFrame, alike: Callable[[str, str], str], length: int = 20) -> Vectors:
    """Images are similar if `alike` returns the same word for label and axis."""
    random = np.random.default_rng(360)
    words = [
        alike(label, path.split("/")[-1][:2])
        for path, label in zip(images["path"], images["label"], strict=True)
    ]
    centres = {word: random.normal(size=length) for word in sorted(set(words))}
    found = np.stack([centres[word] + random.normal(size=length) * 0.05 for word in words])
    matrix = found.astype(np.float32)
    return Vectors(images, matrix, matrix, len(images))


def scores(quality: Quality, question: str) -> Scores:
    (found,) = [answer.scores for answer in quality.answers if answer.question == question]
    assert found is not None
    return found


def shares(found: Scores) -> list[float]:
    return [
        found.neighbours_of_features,
        found.neighbours_of_components,
        found.probe_of_features,
        found.probe_of_components,
    ]


def test_fruits_that_look_the_same_about_every_axis_are_all_predicted(pca: PcaModel) -> None:
    found = scores(measure(vectors(film_frames(), lambda label, _: label), pca), "fruit")
    assert shares(found) == [1, 1, 1, 1]
    assert (found.images, found.classes, found.most_frequent) == (288, 8, 1 / 8)


def test_films_without_similar_films_do_not_help(pca: PcaModel) -> None:
    """If frames of one film were in training and test data, accuracy would be 100 %."""
    found = measure(vectors(film_frames(), lambda label, axis: f"{label} {axis}"), pca)
    assert max(shares(scores(found, "fruit"))) < 0.5
    assert max(shares(scores(found, "kind of fruit"))) < 0.8


def test_a_fruit_without_similar_fruits_does_not_help_to_predict_its_kind(pca: PcaModel) -> None:
    found = measure(vectors(film_frames(), lambda label, _: label), pca)
    assert max(shares(scores(found, "kind of fruit"))) < 0.8
    alike = measure(vectors(film_frames(), lambda label, _: label.split()[0]), pca)
    assert shares(scores(alike, "kind of fruit")) == [1, 1, 1, 1]


def test_features_and_components_are_scored_separately(pca: PcaModel) -> None:
    good = vectors(film_frames(), lambda label, _: label)
    noise = np.random.default_rng(2).normal(size=good.features.shape).astype(np.float32)
    found = scores(measure(Vectors(good.images, good.features, noise, 288), pca), "fruit")
    assert found.neighbours_of_features == found.probe_of_features == 1
    assert max(found.neighbours_of_components, found.probe_of_components) < 0.4


def test_vectors_that_do_not_vary_within_a_class_are_scored_too(pca: PcaModel) -> None:
    images = film_frames()
    same = pd.Categorical(images["label"]).codes[:, None] * np.ones((1, 5), np.float32)
    found = measure(Vectors(images, same, same, len(images)), pca)
    assert shares(scores(found, "fruit"))[:2] == [1, 1]
    flat = np.zeros_like(same)
    assert measure(Vectors(images, flat, flat, len(images)), pca).answers


def test_without_groups_nothing_is_scored_and_nothing_fails(pca: PcaModel) -> None:
    images = pd.DataFrame({"path": ["1.jpg", "2.jpg"], "label": [None, None]})
    matrix = np.ones((2, 3), np.float32)
    found = measure(Vectors(images, matrix, matrix, 2), pca)
    assert [answer.scores for answer in found.answers] == [None] * 3
    assert all(answer.reason_not_asked for answer in found.answers)


def test_the_curve_and_the_number_for_90_percent_match_the_model(pca: PcaModel) -> None:
    found = measure(vectors(film_frames(), lambda label, _: label), pca)
    ratios = pca.explained_variance_ratio
    assert found.components_for == {
        "0.9": components_for(ratios, 0.9),
        "0.95": components_for(ratios, 0.95),
    }
    assert found.curve["50"] == pytest.approx(pca.explained_variance)
    assert found.curve["1280"] == pytest.approx(1)


def test_quality_survives_a_round_trip(pca: PcaModel) -> None:
    found = measure(vectors(film_frames(), lambda label, _: label), pca)
    assert Quality.from_record(found.record()) == found


Stored = Callable[..., tuple[Snapshot, Snapshot]]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Create versions of features and components. The vectors of image n contain n."""

    def store(ids: list[str], only_components: int = 0) -> tuple[Snapshot, Snapshot]:
        tables = Tables(Location.parse(str(tmp_path)))
        rows = [
            {"image_id": name, "path": f"A/{n}.jpg", "label": "A", "n": n}
            for n, name in enumerate(ids)
        ]
        return (
            commit(tables, "mobilenet_features", "features", 1280, rows[only_components:]),
            commit(tables, "pca_components", "pca", 50, rows),
        )

    return store


def commit(
    tables: Tables, asset: str, column: str, length: int, rows: list[dict[str, Any]]
) -> Snapshot:
    """Commit constant vectors in two files, or none if there are no images."""
    write, schema = tables.begin(asset, "run"), schema_of(asset)
    filled = [row | {column: np.full(length, row["n"], np.float32)} for row in rows]
    new = [
        write_file(
            [pa.Table.from_pylist(filled[n::2], schema)], write.folder, f"part-{n}.parquet", schema
        )
        for n in range(2 if rows else 0)
    ]
    return write.commit(STATISTICS[asset], new)


def numbers(found: Vectors) -> list[int]:
    np.testing.assert_array_equal(found.features[:, 0], found.components[:, -1])
    expected = [int(Path(path).stem) for path in found.images["path"]]
    assert found.components[:, 0].tolist() == expected
    return expected


def test_both_vectors_are_of_the_same_image(
    stored: Stored,
) -> None:
    found = read(*stored([f"id {n}" for n in range(9)], only_components=2))
    assert sorted(numbers(found)) == [2, 3, 4, 5, 6, 7, 8]
    assert found.features.shape == (7, 1280) and found.components.shape == (7, 50)


def test_a_picture_stored_twice_is_sampled_once(
    stored: Stored,
) -> None:
    found = read(*stored(["a", "b", "a", "c"]))
    assert numbers(found) == [0, 1, 3]
    assert found.n_images == 4


def test_the_sample_of_many_images_is_reproducible(
    stored: Stored,
) -> None:
    versions = stored([f"id {n}" for n in range(40)])
    few, more = (numbers(read(*versions, most=count)) for count in (10, 11))
    assert len(few) == 10 and set(few) < set(more)
    assert max(few) - min(few) > 10


def test_images_without_features_do_not_fail(stored: Stored, pca: PcaModel) -> None:
    found = read(*stored(["a", "b"], only_components=2))
    assert len(found.images) == 0
    assert [answer.scores for answer in measure(found, pca).answers] == [None] * 3


def test_a_damaged_part_is_named(stored: Stored) -> None:
    features, components = stored(["a", "b", "c"])
    Path(features.location.path, "part-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnreadableVersionError, match="materialize mobilenet_features again"):
        read(features, components)


@pytest.mark.parametrize(("n", "length"), [(3, 7), (60, 40), (2_000, 30)])
def test_the_shrunk_covariance_equals_scikit_learns(n: int, length: int) -> None:
    from sklearn.covariance import ledoit_wolf

    random = np.random.default_rng(n)
    vectors = random.normal(size=(n, length)) * random.random(length)
    vectors -= vectors.mean(axis=0)
    expected, _ = ledoit_wolf(vectors, assume_centered=True)
    ours = shrunk_covariance(vectors.astype(np.float32))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_the_shrunk_covariance_of_equal_vectors_is_zero() -> None:
    np.testing.assert_array_equal(shrunk_covariance(np.zeros((4, 3), np.float32)), np.zeros((3, 3)))
