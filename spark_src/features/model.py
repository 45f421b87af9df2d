"""Converts Keras weights to the LiteRT file that workers and phones run. Needs TensorFlow."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spark_src.errors import ConversionError, WeightsError
from spark_src.features.architecture import find_alpha, saved_layers
from spark_src.features.inference import Engine, hide_native_stderr
from spark_src.images.preprocess import INPUT_SIZE
from spark_src.io.locations import Location
from spark_src.tables.vectors import FEATURES

IMAGENET_WEIGHTS_SHA256 = "98528e5fde05e4ff73f1c9a6d315dffdfc418a36073cbcfdcd714de28ddbb369"
"""Digest of the file in `weights/`; its README names the source."""

TOLERANCE = 1e-3
"""Maximum difference between a Keras feature and the converted model's."""

BUNDLED = "mobilenet_v2_1.0_224_no_top.json"
"""Describes the bundled `.tflite` file of the same name."""

CONVERSION = "1"
"""Version of the conversion below: to be increased when its output changes."""


@dataclass(frozen=True)
class MobilenetModel:
    """A converted model: the file's bytes and their source."""

    content: bytes
    weights_sha256: str
    alpha: float
    greatest_difference: float
    """Largest difference between Keras's features and this file's, on test pictures."""

    @property
    def sha256(self) -> str:
        """The digest that identifies this model in every table."""
        return hashlib.sha256(self.content).hexdigest()


def weights_alpha(weights: Location) -> float:
    """The width multiplier of the MobileNetV2 in a weights file.

    Only names, types and shapes are read from the file's header, without TensorFlow.

    Raises:
        WeightsError: the file is missing, is not HDF5, or does not fit.
    """
    with _local_file(weights) as file:
        return _alpha(file, weights)


def weights_sha256(weights: Location) -> str:
    """The digest of the weights file.

    Raises:
        WeightsError: there is no such file.
    """
    _require_file(weights)
    return hashlib.sha256(weights.read()).hexdigest()


def converter() -> str:
    """Versions of the packages that convert weights on this host: they determine the output.

    Raises:
        PackageNotFoundError: TensorFlow is not installed, as on the cluster.
    """
    packages = [f"{name} {version(name)}" for name in ("tensorflow", "keras")]
    return ", ".join([*packages, f"conversion {CONVERSION}"])


def keras_model(weights: Location) -> tuple[Any, float]:
    """MobileNetV2 without top, global average pooling, with the weights loaded; and its alpha.

    Raises:
        WeightsError: the file is missing, is not HDF5, or does not fit.
    """
    with _local_file(weights) as file:
        alpha = _alpha(file, weights)
        try:
            return _build(file, alpha), alpha
        except (
            ValueError,
            OSError,
            KeyError,
            RuntimeError,
        ) as error:  # the data after the header is damaged
            raise _weights_error(weights, str(error)) from error


def convert(weights: Location) -> MobilenetModel:
    """Convert the weights to LiteRT and compare the result with Keras.

    Raises:
        WeightsError: the weights do not fit.
        ConversionError: the converted model's features differ by more than `TOLERANCE`.
    """
    keras, alpha = keras_model(weights)
    content = _flatbuffer(keras)
    difference = _greatest_difference(keras, content)
    if not difference <= TOLERANCE:
        raise ConversionError(
            f"The model converted from {weights} differs from Keras by {difference:.2e} "
            f"(at most {TOLERANCE:.0e} is allowed). Try another TensorFlow version."
        )
    return MobilenetModel(content, weights_sha256(weights), alpha, difference)


def bundled(folder: Path, weights: Location) -> MobilenetModel | None:
    """The converted model bundled with the project, if it matches these weights.

    Created with `python -m spark_src.features.model weights`; a test compares it with a new
    conversion. With another TensorFlow version, or other weights, the weights are converted.

    Args:
        folder: the folder with the weights, the converted file and its description.
        weights: the weights in use.
    """
    described = folder / BUNDLED
    if not described.exists():
        return None
    known = json.loads(described.read_text(encoding="utf-8"))
    if (weights_sha256(weights), converter()) != (known["weights_sha256"], known["converter"]):
        return None
    content = described.with_suffix(".tflite").read_bytes()
    model = MobilenetModel(
        content, known["weights_sha256"], known["alpha"], known["greatest_difference"]
    )
    return model if model.sha256 == known["sha256"] else None  # otherwise convert


def _alpha(file: Path, weights: Location) -> float:
    try:
        return find_alpha(saved_layers(file))
    except ValueError as error:
        raise _weights_error(weights, str(error)) from error


def _weights_error(weights: Location, reason: str) -> WeightsError:
    first_line = reason.partition("\n")[0]
    return WeightsError(
        f"The weights {weights} are not those of a Keras MobileNetV2 without top "
        f"({first_line}). Set FRUITS_WEIGHTS to `imagenet` or to such an .h5 file."
    )


def _require_file(weights: Location) -> None:
    if not weights.exists():
        raise WeightsError(
            f"The weights {weights} do not exist. Set FRUITS_WEIGHTS to `imagenet` or to a Keras "
            ".h5 file of MobileNetV2 without top."
        )
    if weights.is_folder():
        raise _weights_error(weights, "it is a folder")


@contextmanager
def _local_file(weights: Location) -> Iterator[Path]:
    """The weights as a local file that Keras can open; remote weights are copied."""
    _require_file(weights)
    if weights.scheme == "file":
        yield Path(weights.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / weights.name  # the extension tells Keras the layout
        file.write_bytes(weights.read())
        yield file


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same results on every processor
    with hide_native_stderr():  # CUDA warnings
        import tensorflow  # takes 7 s and 1 GB: only imported for a conversion

    return tensorflow


def _build(weights: Path, alpha: float) -> Any:
    keras = _tensorflow().keras
    keras.utils.clear_session()  # reset Keras's numbering of layers, to match the names in the file
    return keras.applications.MobileNetV2(
        input_shape=(INPUT_SIZE, INPUT_SIZE, 3),
        alpha=alpha,
        include_top=False,
        weights=str(weights),
        pooling="avg",
    )


def _flatbuffer(keras: Any) -> bytes:
    tensorflow = _tensorflow()
    signature = tensorflow.TensorSpec((None, INPUT_SIZE, INPUT_SIZE, 3), tensorflow.float32)
    with tempfile.TemporaryDirectory() as folder, hide_native_stderr():
        keras.export(folder, verbose=False, input_signature=[signature])
        return bytes(tensorflow.lite.TFLiteConverter.from_saved_model(folder).convert())


def _greatest_difference(keras: Any, content: bytes) -> float:
    """Compare on eight synthetic pictures: noise, flat colours and gradients."""
    random = np.random.default_rng(360)
    side = INPUT_SIZE
    noise = random.uniform(-1, 1, (4, side, side, 3))
    flat = np.broadcast_to(random.uniform(-1, 1, (2, 1, 1, 3)), (2, side, side, 3))
    slope = np.broadcast_to(np.linspace(-1, 1, side)[:, None, None], (1, side, side, 3))
    pictures = np.concatenate([noise, flat, slope, -slope]).astype(np.float32)
    converted = Engine(content).features(pictures)
    if converted.shape[1] != FEATURES:
        raise ConversionError(
            f"The converted model gives {converted.shape[1]} features, not {FEATURES}."
        )
    return float(np.abs(converted - np.asarray(keras(pictures))).max())


def _bundle(folder: Path) -> None:
    """Rebuild the two bundled files next to the ImageNet weights."""
    described = folder / BUNDLED
    model = convert(Location.parse(str(described.with_suffix(".h5"))))
    described.with_suffix(".tflite").write_bytes(model.content)
    known = {
        "sha256": model.sha256,
        "weights_sha256": model.weights_sha256,
        "alpha": model.alpha,
        "greatest_difference": model.greatest_difference,
        "converter": converter(),
    }
    described.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _bundle(Path(sys.argv[1]))
