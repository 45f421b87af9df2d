"""From Keras weights to the LiteRT file that workers and phones run. On the host: TensorFlow."""

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
from spark_src.features.architecture import fitting_alpha, saved_layers
from spark_src.features.inference import Engine, native_stderr_hidden
from spark_src.images.preprocess import INPUT_SIZE
from spark_src.io.locations import Location
from spark_src.tables.vectors import FEATURES

IMAGENET_WEIGHTS_SHA256 = "98528e5fde05e4ff73f1c9a6d315dffdfc418a36073cbcfdcd714de28ddbb369"
"""Of the file in `weights/`; its README says where it comes from."""

TOLERANCE = 1e-3
"""Greatest difference allowed between a Keras feature and the converted model's."""

BUNDLED = "mobilenet_v2_1.0_224_no_top.json"
"""Describes the converted file of the same name beside the ImageNet weights."""

CONVERSION = "1"
"""Of the code below that converts: counted up where it makes another file of the same weights."""


@dataclass(frozen=True)
class MobilenetModel:
    """A converted model: the file's bytes and where they come from."""

    content: bytes
    weights_sha256: str
    alpha: float
    greatest_difference: float
    """Between the features of Keras and of this file, on the pictures of the check."""

    @property
    def sha256(self) -> str:
        """The digest that names this model in every table."""
        return hashlib.sha256(self.content).hexdigest()


def weights_alpha(weights: Location) -> float:
    """The width of the MobileNetV2 without top whose weights these are, by the file's header.

    Only names, types and shapes are read, the way Keras would read them, without TensorFlow.

    Raises:
        WeightsError: the file is missing, is not HDF5, or does not fit.
    """
    with _local_file(weights) as file:
        return _alpha(file, weights)


def weights_sha256(weights: Location) -> str:
    """The digest of the weights' file.

    Raises:
        WeightsError: there is no such file.
    """
    _require_file(weights)
    return hashlib.sha256(weights.read()).hexdigest()


def converter() -> str:
    """What turns weights into the file, on this host: another one may make another file of them.

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
        except (ValueError, OSError, KeyError, RuntimeError) as error:  # of damage past the header
            raise _unfit(weights, str(error)) from error


def convert(weights: Location) -> MobilenetModel:
    """Convert the weights to LiteRT and compare the result with Keras on the spot.

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
    """The model that lies beside the project's own weights, if it was made of these weights.

    Made by `python -m spark_src.features.model weights`; a test shows that conversion gives these
    bytes. Another TensorFlow converts anew, as any other weights are.

    Args:
        folder: has the file of weights, the converted one and what is known of it.
        weights: those that are asked for.
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
    return model if model.sha256 == known["sha256"] else None  # else converted as any other


def _alpha(file: Path, weights: Location) -> float:
    try:
        return fitting_alpha(saved_layers(file))
    except ValueError as error:
        raise _unfit(weights, str(error)) from error


def _unfit(weights: Location, reason: str) -> WeightsError:
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
        raise _unfit(weights, "a folder lies there")


@contextmanager
def _local_file(weights: Location) -> Iterator[Path]:
    """The weights as a file that Keras can open: a copy where they are not on this machine."""
    _require_file(weights)
    if weights.scheme == "file":
        yield Path(weights.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / weights.name  # Keras tells its layouts apart by the name's ending
        file.write_bytes(weights.read())
        yield file


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same sums whatever the processor
    with native_stderr_hidden():  # of CUDA, which this has no use for
        import tensorflow  # 7 s and 1 GB: only who converts pays for it

    return tensorflow


def _build(weights: Path, alpha: float) -> Any:
    keras = _tensorflow().keras
    keras.utils.clear_session()  # Keras numbers its layers, and the file holds their names
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
    with tempfile.TemporaryDirectory() as folder, native_stderr_hidden():
        keras.export(folder, verbose=False, input_signature=[signature])
        return bytes(tensorflow.lite.TFLiteConverter.from_saved_model(folder).convert())


def _greatest_difference(keras: Any, content: bytes) -> float:
    """On eight made-up pictures: noise, flat colours and gradients cover the input's range."""
    random = np.random.default_rng(360)
    side = INPUT_SIZE
    noise = random.uniform(-1, 1, (4, side, side, 3))
    flat = np.broadcast_to(random.uniform(-1, 1, (2, 1, 1, 3)), (2, side, side, 3))
    slope = np.broadcast_to(np.linspace(-1, 1, side)[:, None, None], (1, side, side, 3))
    pictures = np.concatenate([noise, flat, slope, -slope]).astype(np.float32)
    ours = Engine(content).features(pictures)
    if ours.shape[1] != FEATURES:
        raise ConversionError(
            f"The converted model gives {ours.shape[1]} features, not {FEATURES}."
        )
    return float(np.abs(ours - np.asarray(keras(pictures))).max())


def _bundle(folder: Path) -> None:
    """Make the two files beside the ImageNet weights anew."""
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
