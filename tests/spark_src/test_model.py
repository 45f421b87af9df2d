"""The converted model is Keras's model, the same each time; other files are refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spark_src.errors import UnreadableVersionError, WeightsError
from spark_src.features.inference import Engine
from spark_src.features.model import (
    IMAGENET_WEIGHTS_SHA256,
    TOLERANCE,
    MobilenetModel,
    convert,
    keras_model,
)
from spark_src.io.locations import Location


def narrow_mobilenet(**options: Any) -> Any:
    """MobileNetV2 of random weights, alpha 0.35: the smallest that gives 1,280 features."""
    from tensorflow.keras.applications import MobileNetV2

    shape = (224, 224, 3)
    return MobileNetV2(input_shape=shape, alpha=0.35, weights=None, **options)


def refusal(weights: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        keras_model(Location.parse(str(weights)))
    return str(caught.value)


def test_the_weights_are_those_that_the_code_pins(weights: Path) -> None:
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == IMAGENET_WEIGHTS_SHA256


def test_converting_twice_gives_the_same_bytes(weights: Path, mobilenet: MobilenetModel) -> None:
    assert convert(Location.parse(str(weights))).sha256 == mobilenet.sha256


def test_the_converted_model_computes_what_keras_computes(mobilenet: MobilenetModel) -> None:
    assert 0 < mobilenet.greatest_difference <= TOLERANCE <= 1e-3


def test_the_model_names_its_weights_and_its_own_digest(mobilenet: MobilenetModel) -> None:
    assert mobilenet.weights_sha256 == IMAGENET_WEIGHTS_SHA256
    assert mobilenet.sha256 == hashlib.sha256(mobilenet.content).hexdigest()
    assert (mobilenet.alpha, mobilenet.facts["input_size"]) == (1.0, 224)
    assert 8e6 < len(mobilenet.content) < 10e6


def test_a_model_comes_back_from_its_file_and_facts(mobilenet: MobilenetModel) -> None:
    assert MobilenetModel.from_facts(mobilenet.content, mobilenet.facts) == mobilenet


def test_a_model_file_with_a_changed_byte_is_refused_with_both_digests(
    mobilenet: MobilenetModel,
) -> None:
    changed = bytearray(mobilenet.content)
    changed[len(changed) // 2] ^= 1
    with pytest.raises(UnreadableVersionError, match=mobilenet.sha256) as caught:
        MobilenetModel.from_facts(bytes(changed), mobilenet.facts)
    assert hashlib.sha256(changed).hexdigest() in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "half"])
def test_what_is_no_weights_file_is_named(weights: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "my weights.h5"
    content = {"text": b"hello", "half": weights.read_bytes()[:4_000_000]}
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes(content[kind])
    message = refusal(file)
    assert str(file) in message
    assert "FRUITS_WEIGHTS" in message


@pytest.mark.parametrize("name", ["other.h5", "other.weights.h5"])
def test_weights_of_another_network_are_refused(tmp_path: Path, name: str) -> None:
    from tensorflow import keras

    network = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    if name.endswith(".weights.h5"):
        network.save_weights(tmp_path / name)
    else:
        network.save(tmp_path / name)
    assert str(tmp_path / name) in refusal(tmp_path / name)


def test_weights_with_the_classifying_top_in_the_legacy_layout_are_refused(
    tmp_path: Path,
) -> None:
    narrow_mobilenet(include_top=True).save(tmp_path / "with_top.h5")
    assert "with_top.h5" in refusal(tmp_path / "with_top.h5")


def test_weights_of_which_a_layer_is_missing_are_refused(weights: Path, tmp_path: Path) -> None:
    import h5py

    file = tmp_path / "incomplete.h5"
    file.write_bytes(weights.read_bytes())
    with h5py.File(file, "a") as content:
        del content["Conv_1"]
    assert str(file) in refusal(file)


@pytest.mark.parametrize("name", ["narrow.weights.h5", "narrow.h5"])
def test_weights_of_a_narrower_network_are_recognised_in_both_layouts(
    tmp_path: Path, name: str
) -> None:
    """`save_weights` of Keras 3 insists on `.weights.h5`; `save` of a model still writes `.h5`."""
    network = narrow_mobilenet(include_top=False, pooling="avg")
    save = network.save_weights if name.endswith(".weights.h5") else network.save
    save(tmp_path / name)
    loaded, alpha = keras_model(Location.parse(str(tmp_path / name)))
    assert alpha == 0.35
    for ours, theirs in zip(loaded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_model_takes_any_number_of_pictures(mobilenet: MobilenetModel) -> None:
    pictures = np.zeros((3, 224, 224, 3), np.float32)
    assert Engine(mobilenet.content).features(pictures).shape == (3, 1280)
