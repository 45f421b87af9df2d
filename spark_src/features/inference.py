"""Computes 1,280 MobileNetV2 features per picture: LiteRT in Python workers, one thread each."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast

from spark_src.errors import UnreadableVersionError
from spark_src.images.layout import display_name
from spark_src.images.preprocess import INPUT_SIZE, model_input
from spark_src.images.validate import DECODER_ERRORS
from spark_src.tables.vectors import FEATURES

BATCH = 2
"""Pictures per call of the engine. By measurement, 2 is faster than 1 and than more."""


class Engine:
    """A loaded model, for one thread.

    Args:
        content: a LiteRT flatbuffer that takes (n, 224, 224, 3) float32 in [-1, 1].
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def features(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of n prepared pictures: (n, 224, 224, 3) in, (n, 1280) out, both float32."""
        batches = [
            self._batch(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)
        ]
        return np.concatenate(batches)

    def _batch(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(pictures) < BATCH:
            # Pad with the last picture: another input shape would reallocate the tensors.
            spare = np.repeat(pictures[-1:], BATCH - len(pictures), axis=0)
            return self._batch(np.concatenate([pictures, spare]))[: len(pictures)]
        if pictures.shape != self._shape:
            with hide_native_stderr():  # "Created TensorFlow Lite XNNPACK delegate for CPU."
                self._interpreter.resize_tensor_input(self._input, pictures.shape)
                self._interpreter.allocate_tensors()
            self._shape = pictures.shape
        self._interpreter.set_tensor(self._input, pictures)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output))


@contextmanager
def hide_native_stderr() -> Iterator[None]:
    """Suppress what C++ code writes to standard error inside the block.

    Python exceptions are still raised. These libraries have no option to turn their output off.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # this process has no standard error
        yield
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(devnull)


_engines: dict[str, Engine] = {}


def worker_engine(model: Broadcast[bytes], model_sha256: str) -> Engine:
    """The engine of this Python worker, loaded once and reused by all of its tasks."""
    if model_sha256 not in _engines:
        _engines.clear()
        _engines[model_sha256] = Engine(model.value)
        gc.freeze()  # Spark runs the garbage collector after each task: 30 ms without this
    return _engines[model_sha256]


def compute_features(batch: pa.RecordBatch, engine: Engine) -> NDArray[np.float32]:
    """Compute features of a batch (columns path, content, orientation): (n, 1280).

    Raises:
        UnreadableVersionError: a stored picture cannot be decoded.
    """
    features = np.empty((batch.num_rows, FEATURES), np.float32)
    pictures = np.empty((BATCH, INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    for start in range(0, batch.num_rows, BATCH):
        rows = range(start, min(start + BATCH, batch.num_rows))
        for index, row in enumerate(rows):
            _decode(batch, row, out=pictures[index])
        features[start : rows.stop] = engine.features(pictures[: len(rows)])
    return features


def _decode(batch: pa.RecordBatch, row: int, out: NDArray[np.float32]) -> None:
    content, orientation = batch["content"][row].as_py(), batch["orientation"][row].as_py()
    try:
        model_input(content, orientation, out)
    except DECODER_ERRORS as error:
        raise UnreadableVersionError(
            f"The stored picture {display_name(batch['path'][row].as_py())} cannot be decoded "
            f"({error}). Compute raw_images again with: uv run dagster asset materialize "
            "--select raw_images"
        ) from error
