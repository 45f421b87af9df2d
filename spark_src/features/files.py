"""How the converted model is kept: one `.tflite`, named by its digest. No TensorFlow."""

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
    """What the commit says of the model."""
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


def file_of(snapshot: Snapshot) -> Location:
    """Where the file of a version of `mobilenet_model` is."""
    return snapshot.location / snapshot.statistics.files[0]


def load(snapshot: Snapshot) -> MobilenetModel:
    """Read the model of a version of `mobilenet_model`.

    Raises:
        UnreadableVersionError: the file is gone, or is not the one that was stored.
    """
    known, file = snapshot.typed(MobilenetModelStatistics), file_of(snapshot)
    try:
        content = file.read()
    except FileNotFoundError as error:
        raise UnreadableVersionError(_remedy(f"{file} is gone")) from error
    model = MobilenetModel(
        content, known.weights_sha256, known.width_multiplier, known.greatest_difference
    )
    if model.sha256 != known.sha256:
        said = f"{file} was changed: its sha256 is {model.sha256}, not {known.sha256}"
        raise UnreadableVersionError(_remedy(said))
    return model


def is_unchanged(before: Snapshot | None, weights_sha256: str, converter: str) -> bool:
    """Whether the file that is there was made of these weights by this converter, and is whole."""
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


def _remedy(what: str) -> str:
    return f"{what}. Make it anew with: uv run dagster asset materialize --select mobilenet_model"
