"""Compares the classification accuracy of features of reduced pictures and of full-size ones.

Pictures of Fruits-360 are enlarged so that ingest reduces them. The folds are those of the asset
`embedding_quality`: no fruit, or no rotation axis, is in both training and test data.

Run: uv run python -m benchmarks.reduction --images FOLDER [--each N] [--side PIXELS]
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmarks._common import default_model, show
from spark_src.evaluation.quality import Quality, Vectors, measure
from spark_src.features.inference import Engine
from spark_src.images.layout import split_and_label
from spark_src.images.preprocess import model_input
from spark_src.images.rejection import Limits
from spark_src.images.validate import MAX_SIDE, clean_picture
from spark_src.pca.model import Sums, fit_sums

N_COMPONENTS = 50
VARIANTS = {"full size": Limits(max_side=MAX_SIDE), "reduced": Limits()}


def main() -> None:
    """Print the accuracies, and the similarity of the features."""
    options = _options()
    root = Path(options.images)
    files = list(_sample_labels(root, options.each))
    engine = Engine(default_model().content)
    features: dict[str, list[NDArray[np.float32]]] = {name: [] for name in VARIANTS}
    for file in files:
        photo = _enlarged(file, options.side)
        for name, limits in VARIANTS.items():
            pixels = model_input(clean_picture(photo, limits).content)
            features[name].append(engine.features(pixels[None])[0])
    images = pd.DataFrame({"path": [file.relative_to(root).as_posix() for file in files]})
    images["label"] = images["path"].map(lambda path: split_and_label(path)[1])
    images["image_id"] = images["path"]
    found = {name: _quality(images, np.stack(vectors)) for name, vectors in features.items()}
    show(
        f"{len(files):,} pictures enlarged to {options.side} x {options.side}: accuracy",
        (
            "question",
            *(f"{variant}, {kind}" for variant in VARIANTS for kind in ("5-NN", "linear")),
        ),
        _rows(found),
    )
    pairs = zip(*features.values(), strict=True)
    similarities = sorted(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)
    show(
        "cosine similarity, reduced and full size",
        ("min", "median"),
        [(f"{similarities[0]:.4f}", f"{similarities[len(similarities) // 2]:.4f}")],
    )


def _sample_labels(root: Path, each: int) -> Iterator[Path]:
    """Evenly spaced pictures of each label, so that every rotation axis is included."""
    for folder in sorted({file.parent for file in root.rglob("*.jpg")}):
        files = sorted(folder.glob("*.jpg"))
        yield from files[:: max(1, len(files) // each)][:each]


def _enlarged(file: Path, side: int) -> bytes:
    content = io.BytesIO()
    with Image.open(file) as picture:
        picture.resize((side, side), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
    return content.getvalue()


def _quality(images: pd.DataFrame, features: NDArray[np.float32]) -> Quality:
    pca = fit_sums(Sums.from_features(features), N_COMPONENTS, "benchmark")
    return measure(Vectors(images, features, pca.project(features), len(images)), pca)


def _rows(found: dict[str, Quality]) -> Iterator[tuple[str, ...]]:
    for answers in zip(*(quality.answers for quality in found.values()), strict=True):
        if all(answer.scores for answer in answers):
            name = f"{answers[0].question}, other {answers[0].held_out}"
            shares = [
                share
                for answer in answers
                if answer.scores
                for share in (
                    answer.scores.neighbours_of_components,
                    answer.scores.probe_of_components,
                )
            ]
            yield (name, *(f"{share:.1%}" for share in shares))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, help="Fruits-360, with folders named by labels")
    parser.add_argument("--each", type=int, default=12, help="pictures per folder")
    parser.add_argument("--side", type=int, default=1344)
    return parser.parse_args()


if __name__ == "__main__":
    main()
