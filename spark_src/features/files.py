"""Stores the converted model as one `.tflite` file, named by its digest. No TensorFlow."""

from __future__ import annotations

from spark_src.errors import UnreadableVersionError
from spark_src.features.model import MobilenetModel
from spark_src.images.preprocess import INPUT_SIZE
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot
from spark_src.tables.parquet import write_whole
from spark_src.tables.statistics import MobilenetModelStatistics


def save(model: MobilenetModel, folder: Location) -> str:
    """Write the file; return its name."""
    name = f"{model.sha256}.tflite"
    write_whole(folder / name, model.content)
    return name


def statistics(model: MobilenetModel, converter: str, name: str) -> MobilenetModelStatistics:
    """Statistics of the model, for its commit."""
    return MobilenetModelStatistics(
        digest=model.sha256,
        rows=1,
        files=(name,),
        sha256=model.sha256,
        weights_sha256=model.weights_sha256,
        converter=converter,
        input_size=INPUT_SIZE,
        width_multiplier=model.alpha,
        greatest_difference=model.greatest_difference,
    )


def model_file(snapshot: Snapshot) -> Location:
    """Location of the model file of a version of `mobilenet_model`."""
    return snapshot.location / snapshot.statistics.files[0]


def load(snapshot: Snapshot) -> MobilenetModel:
    """Read the model of a version of `mobilenet_model`.

    Raises:
        UnreadableVersionError: the file is missing, or was changed.
    """
    known, file = snapshot.typed(MobilenetModelStatistics), model_file(snapshot)
    try:
        content = file.read()
    except FileNotFoundError as error:
        raise UnreadableVersionError(_remedy(f"{file} is missing")) from error
    model = MobilenetModel(
        content, known.weights_sha256, known.width_multiplier, known.greatest_difference
    )
    if model.sha256 != known.sha256:
        reason = f"{file} was changed: its sha256 is {model.sha256}, not {known.sha256}"
        raise UnreadableVersionError(_remedy(reason))
    return model


def is_unchanged(before: Snapshot | None, weights_sha256: str, converter: str) -> bool:
    """Whether the stored file was converted from these weights, and is intact."""
    if before is None:
        return False
    known = before.typed(MobilenetModelStatistics)
    if (known.weights_sha256, known.converter) != (weights_sha256, converter):
        return False
    try:
        load(before)
    except UnreadableVersionError:
        return False
    return True


def _remedy(reason: str) -> str:
    return (
        f"{reason}. Create it again with: uv run dagster asset materialize --select mobilenet_model"
    )
