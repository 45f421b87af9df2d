"""The classifier's head: training, exact subtraction of images, and the LiteRT file."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from spark_src.errors import ClassifierError
from spark_src.evaluation.classifier import classify
from spark_src.evaluation.head import ClassSums, fit_head, fit_temperature, softmax
from spark_src.evaluation.held_out import hold_out
from spark_src.evaluation.label_issues import label_issues
from spark_src.evaluation.neighbours import nearest
from spark_src.evaluation.picture_model import PictureClassifier, bytes_of, picture_model
from spark_src.features.inference import Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import model_input
from spark_src.pca.model import Sums, fit_sums

LABELS = ("Apple", "Açaí", "Pear")


def labelled_features(count: int = 300, seed: int = 1) -> tuple[NDArray[np.float32], list[str]]:
    """Features whose first value determines the label."""
    random = np.random.default_rng(seed)
    features = random.random((count, 1280)).astype(np.float32)
    labels = [LABELS[number % 3] for number in range(count)]
    features[:, 0] += np.array([3.0 * (number % 3) for number in range(count)], np.float32)
    return features, labels


def test_sums_after_subtraction_equal_those_of_the_remaining_images() -> None:
    """The head is equal as well, because the sums are exact."""
    features, labels = labelled_features()
    is_removed = np.arange(300) % 3 == 2  # includes every image of one label
    is_removed[:40] = True
    kept = ClassSums.from_features(features[~is_removed], np.array(labels)[~is_removed].tolist())
    both = kept + ClassSums.from_features(
        features[is_removed], np.array(labels)[is_removed].tolist()
    )
    assert both.classes == ("Apple", "Açaí", "Pear")
    left = both - ClassSums.from_features(
        features[is_removed], np.array(labels)[is_removed].tolist()
    )
    assert left.classes == kept.classes == ("Apple", "Açaí")
    for one, other in ((left.totals, kept.totals), (left.sums.gram, kept.sums.gram)):
        np.testing.assert_array_equal(one, other)
    again = fit_head(
        ClassSums.from_features(features[~is_removed], np.array(labels)[~is_removed].tolist())
    )
    found = fit_head(left)
    np.testing.assert_allclose(found.weights, again.weights, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.offsets, again.offsets, rtol=0, atol=1e-9)


def test_the_head_on_components_predicts_labels_as_well() -> None:
    features, labels = labelled_features()
    sums = ClassSums.from_features(features, labels)
    pca = fit_sums(sums.sums, 10, "model")
    test, right = labelled_features(60, seed=2)
    for head, vectors in ((fit_head(sums), test), (fit_head(sums, pca), pca.project(test))):
        predicted = head.probabilities(vectors)
        np.testing.assert_allclose(predicted.sum(axis=1), 1)
        share = np.mean([head.classes[row] for row in predicted.argmax(axis=1)] == np.array(right))
        assert share > 0.95


def test_a_single_label_is_refused_with_an_explanation() -> None:
    features, _ = labelled_features(10)
    with pytest.raises(ClassifierError, match=r"at least two labels.*has 1\. Put pictures"):
        fit_head(ClassSums.from_features(features, ["Apple"] * 10))


def test_the_temperature_calibrates_overconfident_logits() -> None:
    random = np.random.default_rng(5)
    logits = random.normal(size=(4_000, 4))
    right = np.array([random.choice(4, p=row) for row in softmax(logits)])
    assert fit_temperature(logits * 7, right) == pytest.approx(7, rel=0.15)


def test_calibration_is_measured_on_images_the_temperature_was_not_fitted_on() -> None:
    images, vectors, _ = film_frames(wrong=30)
    (answer,) = [one for one in hold_out(images, vectors[:, :5]) if one.question == "fruit"]
    for number in set(answer.fold):
        is_test = answer.fold == number
        others = fit_temperature(answer.logits[~is_test], answer.given[~is_test])
        expected = softmax(answer.logits[is_test] / others)
        np.testing.assert_allclose(answer.probabilities()[is_test], expected, atol=1e-9)
    assert len(set(answer.held_out_temperatures.ravel())) == len(set(answer.fold)) > 1


@cache
def film_components() -> tuple[NDArray[np.float32], list[str]]:
    features, labels = labelled_features(360)
    return fit_sums(Sums.from_features(features), 10, "model").project(features), labels


def film_frames(wrong: int = 0) -> tuple[pd.DataFrame, NDArray[np.float32], set[str]]:
    """Three labels with three axes each. The first few images have a wrong label."""
    vectors, labels = film_components()
    paths = [f"Training/{{}}/r{n // 3 % 3}_{n}_100.jpg" for n in range(360)]
    given = labels.copy()
    for number in range(wrong):
        given[number * 7] = LABELS[(LABELS.index(labels[number * 7]) + 1) % 3]
    paths = [path.format(label) for path, label in zip(paths, given, strict=True)]
    images = pd.DataFrame({"path": paths, "label": given, "image_id": paths})
    return images, vectors, {paths[number * 7] for number in range(wrong)}


def test_swapped_labels_are_the_first_issues_with_the_correct_suggestion() -> None:
    images, vectors, swapped = film_frames(wrong=8)
    found = label_issues(images, hold_out(images, vectors), nearest(vectors))
    assert set(found["path"][:8]) == swapped
    issues = found[found["issue"]]
    assert set(issues["path"]) <= swapped
    assert len(issues) >= 6
    places = images.set_index("path").index.get_indexer(found["path"][:8])
    assert found["suggested"][:8].tolist() == [LABELS[place % 3] for place in places]


def test_without_wrong_labels_there_are_no_issues() -> None:
    images, vectors, _ = film_frames()
    assert not label_issues(images, hold_out(images, vectors), nearest(vectors))["issue"].any()


def test_images_that_cannot_be_held_out_have_no_issues() -> None:
    images = pd.DataFrame({"path": ["1.jpg"], "label": [None], "image_id": ["a"]})
    vectors = np.ones((1, 5), np.float32)
    assert label_issues(images, hold_out(images, vectors), nearest(vectors)).empty


@pytest.mark.parametrize("on_components", [True, False])
def test_the_file_gives_labels_and_probabilities_of_a_picture(
    on_components: bool, mobilenet: MobilenetModel, sample_pictures: list[bytes]
) -> None:
    features, labels = labelled_features()
    sums = ClassSums.from_features(features, labels)
    pca = fit_sums(sums.sums, 10, "model") if on_components else None
    head = fit_head(sums, pca)
    classifier = PictureClassifier(picture_model(mobilenet.content, head, pca))
    for content in sample_pictures:
        pixels = model_input(content)
        found = classifier.probabilities(bytes_of(pixels))
        assert classifier.labels == tuple(sorted(LABELS))
        vector = Engine(mobilenet.content).features(pixels[None])
        wanted = head.probabilities(vector if pca is None else pca.project(vector))[0]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "size", "kind"),
    [("RGB", (640, 48), "JPEG"), ("L", (31, 400), "JPEG"), ("RGBA", (5, 3), "PNG")],
    ids=["wide", "grey and tall", "tiny with transparency"],
)
def test_odd_pictures_are_classified_as_by_the_tables(
    mode: str, size: tuple[int, int], kind: str, mobilenet: MobilenetModel
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (*size[::-1], len(mode)), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise.squeeze(), mode).save(content, kind)
    head = fit_head(ClassSums.from_features(*labelled_features()))
    classifier = PictureClassifier(picture_model(mobilenet.content, head, None))
    found = classify(content.getvalue(), classifier)
    vector = Engine(mobilenet.content).features(model_input(content.getvalue())[None])
    expected = dict(zip(head.classes, head.probabilities(vector)[0], strict=True))
    assert list(found) == sorted(expected, key=lambda label: -expected[label])
    assert found == pytest.approx(expected, rel=0, abs=1e-4)


def test_pixels_that_are_not_bytes_are_refused(mobilenet: MobilenetModel) -> None:
    """A float picture would have to be scaled, which the file does itself."""
    head = fit_head(ClassSums.from_features(*labelled_features()))
    classifier = PictureClassifier(picture_model(mobilenet.content, head, None))
    with pytest.raises(ValueError, match="UINT8"):
        classifier.probabilities(np.zeros((224, 224, 3), np.float32))  # type: ignore[arg-type]


def test_bytes_of_preprocessed_pixels_equal_the_picture() -> None:
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(bytes_of(every / np.float32(127.5) - np.float32(1)), every)


@pytest.fixture(scope="module")
def sample_pictures(sample: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(sample.rglob("*.jpg"))[::100]]
