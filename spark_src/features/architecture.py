"""The weight shapes of MobileNetV2 without top, and those found in a weights file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import count, takewhile, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile, ZipFile

from spark_src.tables.vectors import FEATURES

if TYPE_CHECKING:
    import h5py

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of one layer's weights, in the order in which Keras saves them."""

ALPHAS = (1.0, 0.75, 0.5, 0.35)
"""MobileNetV2's width multipliers (Sandler et al. 2018) that give 1,280 features."""

_BOTTLENECKS = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
"""Expansion, channels and repetitions (ibid., table 2); strides do not affect weight shapes."""

_WEIGHTLESS = ("add", "global_average_pooling2d", "input_layer", "re_lu", "zero_padding2d")
"""Layer types without weights, by their Keras 3 names."""


class SavedLayer(NamedTuple):
    """A layer in a weights file."""

    name: str
    shapes: Shapes


def layer_shapes(alpha: float) -> dict[str, Shapes]:
    """Every layer with weights, by Keras's name and in Keras's order; `alpha` is at most 1."""
    channels = _divisible(32 * alpha)
    layers = _convolution("Conv1", "bn_Conv1", (3, 3, 3, channels), channels)
    blocks = [(expansion, c) for expansion, c, repeated in _BOTTLENECKS for _ in range(repeated)]
    for number, (expansion, unscaled) in enumerate(blocks):
        name = f"block_{number}" if number else "expanded_conv"
        narrow = _divisible(int(unscaled * alpha))
        layers |= _bottleneck(name, channels, expansion * channels, narrow)
        channels = narrow
    return layers | _convolution("Conv_1", "Conv_1_bn", (1, 1, channels, FEATURES), FEATURES)


def saved_layers(file: Path) -> list[SavedLayer]:
    """Read the layers with weights, in the order in which Keras would load them.

    As in Keras, the file extension determines the layout.

    Raises:
        ValueError: the file cannot be read, or has parts that Keras would not load.
    """
    if not file.name.endswith((".h5", ".hdf5", ".keras")):
        raise ValueError("its name does not end in .h5")
    try:
        with _open_hdf5(file) as content:
            if file.name.endswith((".weights.h5", ".keras")):
                return _numbered_layers(content)
            return _legacy_layers(content)
    except (OSError, RuntimeError, KeyError, TypeError, BadZipFile) as error:  # all raised by h5py
        raise ValueError(f"it cannot be read: {error}") from error


def find_alpha(layers: Sequence[SavedLayer]) -> float:
    """Find the width multiplier that these layers, in the order of the file, match.

    Raises:
        ValueError: there is none. The message names the first layer that does not match the width
            that most layers match.
    """
    alpha = max(ALPHAS, key=lambda alpha: _matches(layers, alpha).count(True))
    matches = _matches(layers, alpha)
    if all(matches):
        return alpha
    raise ValueError(_mismatch(layers, alpha, matches.index(False)))


def _matches(layers: Sequence[SavedLayer], alpha: float) -> list[bool]:
    """Whether each layer matches, compared by position: Keras does not use the names."""
    saved = (layer.shapes for layer in layers)
    expected = layer_shapes(alpha).values()
    return [found == wanted for found, wanted in zip_longest(saved, expected)]


def _mismatch(layers: Sequence[SavedLayer], alpha: float, position: int) -> str:
    expected = layer_shapes(alpha)
    if position == len(expected):
        return f"its layer {layers[position].name} is one too many"
    name, shapes = list(expected.items())[position]
    saved = layers[position] if position < len(layers) else SavedLayer("", ())
    left_out = name not in [layer.name for layer in layers] and saved.name in expected
    if left_out or not saved.shapes:
        return f"its layer {name} is missing"
    return (
        f"its layer {saved.name} has weights of {_format_shapes(saved.shapes)}, but {name} at "
        f"width {alpha} has {_format_shapes(shapes)}"
    )


def _format_shapes(shapes: Shapes) -> str:
    """Format shapes like `3x3x3x32`."""
    if len(shapes) > 6:  # a whole network inside another counts as one layer
        return f"{len(shapes)} shapes"
    return ", ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _bottleneck(name: str, channels: int, wide: int, narrow: int) -> dict[str, Shapes]:
    """Expansion, depthwise convolution, projection. The first block does not expand."""
    parts = [("expand", (1, 1, channels, wide), wide)] if wide > channels else []
    parts += [("depthwise", (3, 3, wide, 1), wide), ("project", (1, 1, wide, narrow), narrow)]
    layers: dict[str, Shapes] = {}
    for part, kernel, outputs in parts:
        layers |= _convolution(f"{name}_{part}", f"{name}_{part}_BN", kernel, outputs)
    return layers


def _convolution(
    name: str, normalisation: str, kernel: tuple[int, int, int, int], outputs: int
) -> dict[str, Shapes]:
    """A convolution without bias; its normalisation has gamma, beta, mean and variance."""
    return {name: (kernel,), normalisation: ((outputs,),) * 4}


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at most a tenth less: Keras's rule."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


@contextmanager
def _open_hdf5(file: Path) -> Iterator[h5py.File]:
    import h5py  # not installed on the cluster, where no weights are checked

    if file.name.endswith(".keras"):
        with ZipFile(file) as archive:
            content = BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content) as opened:
            yield opened
        return
    with file.open("rb"):  # raises the OSError that h5py.is_hdf5 would hide
        pass
    if not h5py.is_hdf5(file):
        raise ValueError("it is not an HDF5 file")
    with h5py.File(file) as opened:
        yield opened


def _legacy_layers(file: h5py.Group) -> list[SavedLayer]:
    """Layers of the legacy layout, which lists layers and their weights in attributes."""
    if "layer_names" not in file.attrs and "model_weights" in file:
        file = _group(file, "model_weights")
    names = _read_names(file, "layer_names")
    if "top_level_model_weights" in file:
        names.append("top_level_model_weights")
    groups = {name: _group(file, name) for name in names}
    weights = {name: _read_names(group, "weight_names") for name, group in groups.items()}
    return [
        SavedLayer(name, tuple(_shape(groups[name], weight) for weight in weights[name]))
        for name in names
        if weights[name]
    ]


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """The names in an attribute, which Keras splits into numbered attributes if it is long."""
    chunks = takewhile(group.attrs.__contains__, (f"{attribute}{n}" for n in count()))
    names = [
        name
        for chunk in ([attribute] if attribute in group.attrs else chunks)
        for name in group.attrs[chunk]
    ]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _numbered_layers(file: h5py.Group) -> list[SavedLayer]:
    """Layers of the Keras 3 layout, which names layers by type and weights by number.

    Keras ignores other layer types in it, such as a top.
    """
    paths = [f"layers/{kind}" for kind in _numbered_kinds(layer_shapes(1.0))]
    layers = [SavedLayer(path, _numbered_shapes(file, path)) for path in paths]
    names = _group(file, "layers") if "layers" in file else ()
    others = [f"layers/{name}" for name in names if name.rstrip("_0123456789") in _WEIGHTLESS]
    odd = [SavedLayer(path or "vars", _numbered_shapes(file, path)) for path in ("", *others)]
    return layers + [layer for layer in odd if layer.shapes]


def _numbered_kinds(names: Iterable[str]) -> Iterator[str]:
    """Names like `conv2d`, `batch_normalization`, `conv2d_1`."""
    seen: Counter[str] = Counter()
    for kind in map(_kind, names):
        yield f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1


def _kind(name: str) -> str:
    if "bn" in name.lower():
        return "batch_normalization"
    return "depthwise_conv2d" if "depthwise" in name else "conv2d"


def _numbered_shapes(file: h5py.Group, path: str) -> Shapes:
    """Shapes of a layer's weights; empty if the file has no such layer."""
    before = path.replace("layers", "_layer_checkpoint_dependencies")  # TensorFlow 2.13
    for folder in (path, before):
        weights = f"{folder}/vars".lstrip("/")
        if weights in file:
            group = _group(file, weights)
            return tuple(_shape(group, str(n)) for n in range(len(group)))
    return ()


def _group(parent: h5py.Group, path: str) -> h5py.Group:
    import h5py

    for name in path.split("/"):
        parent = _member(parent, name)
        if not isinstance(parent, h5py.Group):
            raise ValueError(f"its part {parent.name} is not a group")
    return parent


def _shape(layer: h5py.Group, path: str) -> tuple[int, ...]:
    """Shape of an array of floating-point numbers."""
    import h5py

    above, _, name = path.rpartition("/")
    array = _member(_group(layer, above) if above else layer, name)
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise ValueError(f"its part {array.name} is not an array stored in the file")
    if array.dtype.kind != "f" and array.attrs.get("dtype") != "bfloat16":  # HDF5 has no such type
        raise ValueError(f"its part {array.name} has type {array.dtype}, not a floating-point type")
    return tuple(array.shape or ())


def _member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A group's member. As in Keras, links are not followed, as they may lead out of the file."""
    import h5py

    link = group.get(name, getclass=True, getlink=True)
    if link is h5py.HardLink:
        return group[name]
    where = f"{group.name.rstrip('/')}/{name}"
    raise ValueError(f"its part {where} is {'a link' if link else 'missing'}")
