"""One LiteRT file from a picture to labels with probabilities: backbone, PCA and head.

The backbone's own file is extended by a few operators, so that its numbers stay what they are in
the tables. TensorFlow is not needed.
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
    """The whole classifier as one LiteRT file.

    Its input is `picture`: (n, 224, 224, 3), uint8, red before green and blue. Its outputs are
    `probabilities`, (n, classes) float32, and `labels`, (classes,) strings in the same order.

    Args:
        backbone: the LiteRT file of `mobilenet_model`.
        head: of features, or of the components that `pca` gives.
        pca: None where the head takes the features themselves.
    """
    from ai_edge_litert import schema_py_generated as schema  # 1 s
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
    graph.name_ends({"picture": picture}, {"probabilities": probabilities, "labels": labels})
    builder = Builder(len(backbone) + weights.nbytes + 2**20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def bytes_of(pixels: Matrix) -> NDArray[np.uint8]:
    """The picture whose bytes `images.preprocess.model_input` scaled to [-1, 1]: exactly those."""
    scaled: NDArray[np.uint8] = np.rint((pixels + 1) * np.float32(127.5)).astype(np.uint8)
    return scaled


class PictureClassifier:
    """A loaded file of `picture_model`, for one thread."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._run = self._interpreter.get_signature_runner("serving_default")
        self.labels: tuple[str, ...] = ()

    def probabilities(self, picture: NDArray[np.uint8]) -> Matrix:
        """Of one picture, (224, 224, 3): (classes,), in the order of `labels`."""
        found = self._run(picture=picture[None])
        self.labels = tuple(name.decode() for name in found["labels"])
        shares: Matrix = found["probabilities"][0]
        return shares


class _Graph:
    """The graph of a LiteRT model, to be extended."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema, self._model = schema, model
        self.graph = model.subgraphs[0]

    def tensor(self, name: str, kind: int, shape: Sequence[int], buffer: int = 0) -> int:
        """Add a tensor; without a buffer its first dimension is the number of pictures."""
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
        """Add a constant tensor of strings: their number, where each begins, their bytes."""
        texts = [value.encode() for value in values]
        start = 4 * (len(texts) + 2)
        places = start + np.cumsum([0, *map(len, texts)])
        content = struct.pack(f"<{len(texts) + 2}i", len(texts), *places) + b"".join(texts)
        kind = self._schema.TensorType.STRING
        return self.tensor(name, kind, [len(texts)], self._buffer(content))

    def dense(self, name: str, source: int, weights: Any, offsets: Any) -> int:
        """Add a matrix and a vector; returns the tensor of the products."""
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
        """Add an operator behind those that are there."""
        found = self._schema.OperatorT()
        found.opcodeIndex = self._code(getattr(self._schema.BuiltinOperator, operator))
        found.inputs, found.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        found.builtinOptionsType = getattr(self._schema.BuiltinOptions, kind)
        found.builtinOptions = options
        self.graph.operators.append(found)

    def name_ends(self, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Say what goes in and what comes out, by names."""
        self.graph.inputs = np.array(list(inputs.values()), np.int32)
        self.graph.outputs = np.array(list(outputs.values()), np.int32)
        (signature,) = self._model.signatureDefs
        signature.inputs = [self._end(*end) for end in inputs.items()]
        signature.outputs = [self._end(*end) for end in outputs.items()]

    def _end(self, name: str, tensor: int) -> Any:
        found = self._schema.TensorMapT()
        found.name, found.tensorIndex = name.encode(), tensor
        return found

    def _code(self, operator: int) -> int:
        codes = self._model.operatorCodes
        for place, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == operator:
                return place
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
