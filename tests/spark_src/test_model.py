"""Conversion is deterministic and equals Keras; invalid files are rejected with the reason."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spark_src.errors import WeightsError
from spark_src.features.architecture import ALPHAS, layer_shapes
from spark_src.features.inference import Engine
from spark_src.features.model import (
    CONVERSION,
    IMAGENET_WEIGHTS_SHA256,
    TOLERANCE,
    MobilenetModel,
    bundled,
    convert,
    converter,
    keras_model,
    weights_alpha,
    weights_sha256,
)
from spark_src.io.locations import Location

ENDINGS = (".h5", ".weights.h5", ".keras")
"""Each extension has a different layout in Keras."""


@pytest.fixture(scope="module")
def networks() -> dict[float, Any]:
    """MobileNetV2 without top, of each width, with random weights."""
    from tensorflow.keras.applications import MobileNetV2

    options = {"input_shape": (224, 224, 3), "weights": None, "include_top": False}
    return {alpha: MobileNetV2(alpha=alpha, pooling="avg", **options) for alpha in ALPHAS}


@pytest.fixture(scope="module")
def converted(weights: Path) -> MobilenetModel:
    """A new conversion of the weights, which takes about 15 s."""
    return convert(Location.parse(str(weights)))


def save(network: Any, file: Path) -> Path:
    """`save_weights` of Keras 3 insists on `.weights.h5`; `save` of a model still writes `.h5`."""
    (network.save_weights if file.name.endswith(".weights.h5") else network.save)(file)
    return file


def alpha_of(file: Path) -> float:
    return weights_alpha(Location.parse(str(file)))


def refusal(weights: Path) -> str:
    """The error message, which is the same for the check and for loading."""
    location = Location.parse(str(weights))
    with pytest.raises(WeightsError) as checked:
        weights_alpha(location)
    with pytest.raises(WeightsError) as loaded:
        keras_model(location)
    assert str(checked.value) == str(loaded.value)
    assert str(weights) in str(checked.value)
    return str(checked.value)


def changed(weights: Path, file: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy of the weights, changed."""
    with h5py.File(shutil.copyfile(weights, file), "a") as content:
        change(content)
    return file


def replaced(weights: Path, file: Path, member: str, values: Any) -> Path:
    """A copy of the weights, with one array or group changed."""

    def replace(content: h5py.File) -> None:
        del content[member]
        content[member] = values

    return changed(weights, file, replace)


def test_the_bundled_model_computes_the_features_of_a_new_conversion(
    converted: MobilenetModel, weights: Path
) -> None:
    """The bytes are equal only on the same type of CPU: the converter folds constants there."""
    found = bundled(weights.parent, Location.parse(str(weights)))
    assert found is not None, "make it: uv run python -m spark_src.features.model weights"
    assert found.weights_sha256 == converted.weights_sha256
    assert len(found.content) == len(converted.content)
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype(np.float32)
    features = [Engine(model.content).features(pictures) for model in (found, converted)]
    assert features[0].max() > 1
    np.testing.assert_allclose(*features, atol=TOLERANCE)


def test_other_weights_have_no_bundled_model(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(weights.read_bytes() + b"x")
    assert bundled(weights.parent, Location.parse(str(other))) is None


def test_a_bundled_model_that_is_damaged_or_of_another_converter_is_not_used(
    weights: Path, tmp_path: Path
) -> None:
    for file in weights.parent.glob(f"{weights.stem}.*"):
        shutil.copy(file, tmp_path)
    mine = Location.parse(str(tmp_path / weights.name))
    assert bundled(tmp_path, mine) is not None
    described = tmp_path / f"{weights.stem}.json"
    text = described.read_text()
    described.write_text(text.replace("tensorflow 2", "tensorflow 1"))
    assert bundled(tmp_path, mine) is None
    described.write_text(text)
    (tmp_path / f"{weights.stem}.tflite").write_bytes(b"damaged")
    assert bundled(tmp_path, mine) is None


def test_the_weights_are_those_that_the_code_pins(weights: Path) -> None:
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == IMAGENET_WEIGHTS_SHA256


def test_converting_twice_gives_the_same_bytes(weights: Path, converted: MobilenetModel) -> None:
    assert convert(Location.parse(str(weights))).sha256 == converted.sha256


def test_the_converted_model_computes_what_keras_computes(converted: MobilenetModel) -> None:
    assert 0 < converted.greatest_difference <= TOLERANCE <= 1e-3


def test_the_model_names_its_weights_and_its_own_digest(converted: MobilenetModel) -> None:
    assert converted.weights_sha256 == IMAGENET_WEIGHTS_SHA256
    assert converted.sha256 == hashlib.sha256(converted.content).hexdigest()
    assert converted.alpha == 1.0
    assert 8e6 < len(converted.content) < 10e6


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_architecture_equals_that_of_keras(networks: dict[float, Any], alpha: float) -> None:
    layers = [layer for layer in networks[alpha].layers if layer.weights]
    weights = [layer.trainable_weights + layer.non_trainable_weights for layer in layers]
    shapes = [tuple(tuple(weight.shape) for weight in of_layer) for of_layer in weights]
    names = [layer.name for layer in layers]
    assert list(layer_shapes(alpha).items()) == list(zip(names, shapes, strict=True))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_width_is_recognised_in_every_layout(
    networks: dict[float, Any], tmp_path: Path, alpha: float, ending: str
) -> None:
    assert alpha_of(save(networks[alpha], tmp_path / f"saved{ending}")) == alpha


def test_the_check_loads_neither_tensorflow_nor_keras(weights: Path) -> None:
    code = f"""
import sys
from spark_src.features.model import converter, weights_alpha
from spark_src.io.locations import Location
assert weights_alpha(Location.parse({str(weights)!r})) == 1.0
assert converter()
assert not {{"tensorflow", "keras"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_layers_are_matched_by_order_not_by_name(weights: Path, tmp_path: Path) -> None:
    def rename(content: h5py.File) -> None:
        content.move("Conv1", "first")
        names = [b"first" if name == b"Conv1" else name for name in content.attrs["layer_names"]]
        content.attrs["layer_names"] = names

    def reverse(content: h5py.File) -> None:
        content.attrs["layer_names"] = content.attrs["layer_names"][::-1]

    assert alpha_of(changed(weights, tmp_path / "renamed.h5", rename)) == 1.0
    assert "Conv_1_bn has weights of" in refusal(changed(weights, tmp_path / "back.h5", reverse))


def test_the_converter_is_named_by_its_versions() -> None:
    import keras
    import tensorflow

    packages = f"tensorflow {tensorflow.__version__}, keras {keras.__version__}"
    assert converter() == f"{packages}, conversion {CONVERSION}"


def test_the_digest_of_the_weights_is_that_of_the_file(weights: Path, tmp_path: Path) -> None:
    assert weights_sha256(Location.parse(str(weights))) == IMAGENET_WEIGHTS_SHA256
    with pytest.raises(WeightsError, match="do not exist"):
        weights_sha256(Location.parse(str(tmp_path / "missing.h5")))


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("missing", "do not exist"),
        ("folder", "it is a folder"),
        ("text", "not an HDF5 file"),
        ("half", "truncated file"),
    ],
)
def test_an_invalid_weights_file_is_rejected_with_the_reason(
    weights: Path, tmp_path: Path, kind: str, cause: str
) -> None:
    file = tmp_path / "my weights.h5"
    content = {"text": b"hello", "half": weights.read_bytes()[:4_000_000]}
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes(content[kind])
    message = refusal(file)
    assert cause in message
    assert "Set FRUITS_WEIGHTS to `imagenet` or to" in message


def test_an_unknown_file_extension_is_rejected(weights: Path, tmp_path: Path) -> None:
    for name in ("weights.bin", "weights", "weights.H5"):
        assert "does not end in .h5" in refusal(changed(weights, tmp_path / name, lambda _: None))


def test_a_layout_with_the_wrong_file_extension_is_rejected(
    networks: dict[float, Any], weights: Path, tmp_path: Path
) -> None:
    numbered = save(networks[0.35], tmp_path / "numbered.weights.h5")
    refusal(numbered.rename(tmp_path / "numbered.h5"))
    refusal(changed(weights, tmp_path / "legacy.weights.h5", lambda _: None))
    assert "not a zip file" in refusal(changed(weights, tmp_path / "a.keras", lambda _: None))


@pytest.mark.parametrize("ending", ENDINGS)
def test_weights_of_another_network_are_refused(tmp_path: Path, ending: str) -> None:
    from tensorflow import keras

    network = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    assert "Conv1" in refusal(save(network, tmp_path / f"other{ending}"))


def test_a_classifying_top_is_refused_only_in_the_layout_in_which_keras_sees_it(
    tmp_path: Path,
) -> None:
    from tensorflow.keras.applications import MobileNetV2

    with_top = MobileNetV2(input_shape=(224, 224, 3), alpha=0.35, weights=None)
    assert "predictions is one too many" in refusal(save(with_top, tmp_path / "with_top.h5"))
    file = save(with_top, tmp_path / "with_top.weights.h5")
    assert alpha_of(file) == keras_model(Location.parse(str(file)))[1] == 0.35


def test_weights_with_a_missing_layer_are_rejected(
    networks: dict[float, Any], weights: Path, tmp_path: Path
) -> None:
    def leave_out(content: h5py.File) -> None:
        names = content.attrs["layer_names"]
        content.attrs["layer_names"] = names[names != b"block_3_project"]

    lost = changed(weights, tmp_path / "lost.h5", lambda content: content.pop("Conv_1"))
    assert "/Conv_1 is missing" in refusal(lost)
    left_out = changed(weights, tmp_path / "left_out.h5", leave_out)
    assert "its layer block_3_project is missing" in refusal(left_out)
    saved = save(networks[0.35], tmp_path / "saved.weights.h5")
    with h5py.File(saved, "a") as content:
        del content["layers/depthwise_conv2d_16"]
    assert "its layer block_16_depthwise is missing" in refusal(saved)


def test_a_layer_of_a_wrong_shape_is_named_with_both_shapes(weights: Path, tmp_path: Path) -> None:
    kernel = "block_5_project/block_5_project/kernel:0"
    narrower = np.zeros((1, 1, 192, 24), np.float32)
    message = refusal(replaced(weights, tmp_path / "narrower.h5", kernel, narrower))
    assert "block_5_project has weights of 1x1x192x24" in message
    assert "block_5_project at width 1.0 has 1x1x192x32" in message


def test_only_floating_point_numbers_are_accepted(weights: Path, tmp_path: Path) -> None:
    def of_type(dtype: str) -> Path:
        values = np.zeros((3, 3, 3, 32), dtype)
        return replaced(weights, tmp_path / f"{dtype}.h5", "Conv1/Conv1/kernel:0", values)

    assert alpha_of(of_type("float16")) == alpha_of(of_type("float64")) == 1.0
    assert "has type int32, not a floating-point type" in refusal(of_type("int32"))


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/bn_Conv1"), h5py.ExternalLink("other.h5", "/Conv1")]
)
def test_links_are_not_followed(weights: Path, tmp_path: Path, link: Any) -> None:
    assert "/Conv1 is a link" in refusal(replaced(weights, tmp_path / "a.h5", "Conv1", link))


def test_damaged_data_is_detected_when_the_weights_are_loaded(
    weights: Path, tmp_path: Path
) -> None:
    def damage(content: h5py.File) -> None:
        kernel = "Conv1/Conv1/kernel:0"
        shape = content[kernel].shape
        del content[kernel]
        options = {"dtype": "f4", "chunks": shape, "compression": "gzip"}
        content.create_dataset(kernel, shape, **options).id.write_direct_chunk((0,) * 4, b"damage")

    file = changed(weights, tmp_path / "damaged.h5", damage)
    assert alpha_of(file) == 1.0
    with pytest.raises(WeightsError, match="FRUITS_WEIGHTS"):
        keras_model(Location.parse(str(file)))


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_numbers_that_keras_saved_are_loaded(
    networks: dict[float, Any], tmp_path: Path, ending: str
) -> None:
    file = save(networks[0.35], tmp_path / f"narrow{ending}")
    loaded, alpha = keras_model(Location.parse(str(file)))
    assert alpha == 0.35
    for ours, theirs in zip(loaded.get_weights(), networks[0.35].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_model_takes_any_number_of_pictures(mobilenet: MobilenetModel) -> None:
    pictures = np.zeros((3, 224, 224, 3), np.float32)
    assert Engine(mobilenet.content).features(pictures).shape == (3, 1280)
