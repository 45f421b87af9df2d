"""Builds one LiteRT file from picture to label probabilities: backbone, PCA and head.

A few operators are added to the backbone's file, so that its features equal those in the tables.
TensorFlow is not needed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_src.evaluation.head import Head, Matrix
from spark_src.pca.model import PcaModel

_IDENTIFIER = b"TFL3"


def picture_model(backbone: bytes, head: Head, pca: PcaModel | None) -> bytes:
    """The complete classifier as one LiteRT file.

    The input is `picture`: (n, 224, 224, 3), uint8, RGB. The outputs are
    `probabilities`, (n, classes) float32, and `labels`, (classes,) strings in the same order.

    Args:
        backbone: the LiteRT file of `mobilenet_model`.
        head: takes the components of `pca`, or features.
        pca: None if the head takes features.
    """
    from ai_edge_litert import schema_py_generated as schema  # takes 1 s
    from flatbuffers import Builder

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(backbone, 0))
    graph = _Graph(schema, model)
    operators = list(graph.graph.operators)
    graph.graph.operators = []
    (pixels,), (features,) = graph.graph.inputs, graph.graph.outputs
    side = list(graph.graph.tensors[pixels].shape)[1:]
    picture = graph.tensor("picture", schema.TensorType.UINT8, [1, *side])
    floats = graph.tensor("pixels", schema.TensorType.FLOAT32, [1, *side])
    scaled = graph.tensor("scaled", schema.TensorType.FLOAT32, [1, *side])
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    graph.add("CAST", [picture], floats, "CastOptions", cast)
    graph.add(
        "DIV", [floats, graph.floats("127.5", [127.5])], scaled, "DivOptions", schema.DivOptionsT()
    )
    graph.add(
        "SUB", [scaled, graph.floats("one", [1.0])], pixels, "SubOptions", schema.SubOptionsT()
    )
    graph.graph.operators += operators
    if pca is not None:
        matrix = pca.components
        features = graph.dense("components", features, matrix, -(matrix @ pca.mean))
    weights, offsets = head.weights / head.temperature, head.offsets / head.temperature
    logits = graph.dense("logits", features, weights, offsets)
    probabilities = graph.tensor("probabilities", schema.TensorType.FLOAT32, [1, len(weights)])
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.add("SOFTMAX", [logits], probabilities, "SoftmaxOptions", softmax)
    labels = graph.strings("labels", head.classes)
    graph.name_tensors({"picture": picture}, {"probabilities": probabilities, "labels": labels})
    builder = Builder(len(backbone) + weights.nbytes + 2**20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def bytes_of(pixels: Matrix) -> NDArray[np.uint8]:
    """Invert the scaling of `images.preprocess.model_input` exactly."""
    scaled = (pixels + np.float32(1)) * np.float32(127.5)
    picture: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return picture


class PictureClassifier:
    """A loaded LiteRT file of `picture_model`. Not thread-safe."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._run = self._interpreter.get_signature_runner("serving_default")
        self.labels: tuple[str, ...] = ()

    def probabilities(self, picture: NDArray[np.uint8]) -> Matrix:
        """Probabilities (classes,) of one picture (224, 224, 3), in the order of `labels`."""
        found = self._run(picture=picture[None])
        self.labels = tuple(name.decode() for name in found["labels"])
        shares: Matrix = found["probabilities"][0]
        return shares


class _Graph:
    """Adds tensors and operators to the graph of a LiteRT model."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema, self._model = schema, model
        self.graph = model.subgraphs[0]

    def tensor(self, name: str, kind: int, shape: Sequence[int], buffer: int = 0) -> int:
        """Add a tensor. Without a buffer, its first dimension is the batch."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name.encode(), kind, buffer
        tensor.shape = np.array(shape, np.int32)
        if not buffer:
            tensor.shapeSignature = np.array([-1, *shape[1:]], np.int32)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def floats(self, name: str, values: Any) -> int:
        """Add a constant tensor of float32."""
        array = np.ascontiguousarray(values, np.float32)
        kind = self._schema.TensorType.FLOAT32
        return self.tensor(name, kind, array.shape, self._buffer(array.tobytes()))

    def strings(self, name: str, values: Sequence[str]) -> int:
        """Add a constant string tensor: count, offsets and bytes."""
        texts = [value.encode() for value in values]
        start = 4 * (len(texts) + 2)
        positions = start + np.cumsum([0, *map(len, texts)])
        content = struct.pack(f"<{len(texts) + 2}i", len(texts), *positions) + b"".join(texts)
        kind = self._schema.TensorType.STRING
        return self.tensor(name, kind, [len(texts)], self._buffer(content))

    def dense(self, name: str, source: int, weights: Any, offsets: Any) -> int:
        """Add a fully connected layer; return its output tensor."""
        target = self.tensor(name, self._schema.TensorType.FLOAT32, [1, len(weights)])
        constants = [
            self.floats(f"{name} weights", weights),
            self.floats(f"{name} offsets", offsets),
        ]
        options = self._schema.FullyConnectedOptionsT()
        self.add("FULLY_CONNECTED", [source, *constants], target, "FullyConnectedOptions", options)
        return target

    def add(
        self, operator: str, inputs: Sequence[int], output: int, kind: str, options: Any
    ) -> None:
        """Append an operator."""
        found = self._schema.OperatorT()
        found.opcodeIndex = self._code(getattr(self._schema.BuiltinOperator, operator))
        found.inputs, found.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        found.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        found.builtinOptions = options
        self.graph.operators.append(found)

    def name_tensors(self, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Set the named inputs and outputs of the graph and its signature."""
        self.graph.inputs = np.array(list(inputs.values()), np.int32)
        self.graph.outputs = np.array(list(outputs.values()), np.int32)
        (signature,) = self._model.signatureDefs
        signature.inputs = [self._named_tensor(*item) for item in inputs.items()]
        signature.outputs = [self._named_tensor(*item) for item in outputs.items()]

    def _named_tensor(self, name: str, tensor: int) -> Any:
        found = self._schema.TensorMapT()
        found.name, found.tensorIndex = name.encode(), tensor
        return found

    def _code(self, operator: int) -> int:
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == operator:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operator
        code.version = 1
        codes.append(code)
        return len(codes) - 1

    def _buffer(self, content: bytes) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1
