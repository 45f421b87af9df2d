"""Plants duplicates among the stored pictures, and measures how many each threshold finds.

Run: uv run python -m benchmarks.duplicates (after the assets were materialized; see FRUITS_STORAGE)
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._common import show
from fruits_assets.settings import Settings
from spark_src.evaluation.duplicates import THRESHOLD
from spark_src.evaluation.health_files import whitening_of
from spark_src.features import files
from spark_src.features.inference import Engine
from spark_src.images.preprocess import model_input
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.pictures import read_pictures
from spark_src.tables.reading import read_rows
from spark_src.tables.vectors import to_matrix

THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8)


def _encoded(picture: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", **{"quality": 90} | options)
    return content.getvalue()


def _cropped(picture: Image.Image) -> Image.Image:
    across, down = (round(side * 0.05 / 2) or 1 for side in picture.size)
    return picture.crop((across, down, picture.width - across, picture.height - down))


VARIANTS: dict[str, Callable[[Image.Image], bytes]] = {
    "re-encoded, quality 70": lambda picture: _encoded(picture, quality=70),
    "re-encoded, quality 40": lambda picture: _encoded(picture, quality=40),
    "resized to 3/4": lambda picture: _encoded(
        picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    ),
    "resized to twice": lambda picture: _encoded(
        picture.resize((picture.width * 2, picture.height * 2))
    ),
    "mirrored": lambda picture: _encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "cropped by 5 %": lambda picture: _encoded(_cropped(picture)),
}


def main() -> None:
    """Print the shares found and false positives by threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=240, help="number of pictures to create variants of"
    )
    count = parser.parse_args().count
    tables = Tables(Location.parse(Settings().storage))
    rows = read_rows(
        tables.current("mobilenet_features"), ["path", "image_id", "label", "features"]
    )
    rows = rows.sort_by("path").combine_chunks()
    paths = np.array(rows["path"].to_pylist())
    labels = np.array(rows["label"].fill_null("").to_pylist())
    whitening = whitening_of(tables.current("pca_model"))
    known = whitening.units(to_matrix(rows["features"].combine_chunks())).astype(np.float32)
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    pictures = read_pictures(tables.current("raw_images"), paths[chosen])
    engine = Engine(files.load(tables.current("mobilenet_model")).content)
    found = {
        name: np.array(
            [
                whitening.units(
                    engine.features(model_input(make(_image(pictures[path])), 1)[None])
                )[0]
                @ known[row]
                for path, row in zip(paths[chosen], chosen, strict=True)
            ]
        )
        for name, make in VARIANTS.items()
    }
    ids = np.array(rows["image_id"].to_pylist())
    others = labels[chosen][:, None] != labels[None, :]
    others &= ids[chosen][:, None] != ids[None, :]  # the same picture under two labels
    unrelated = (known[chosen] @ known.T)[others]
    show(
        f"{len(chosen):,} pictures of {len(paths):,}; {unrelated.size:,} pairs of different labels",
        [
            "threshold",
            *VARIANTS,
            "false positives per thousand pairs",
        ],
        [_row(threshold, found, unrelated) for threshold in THRESHOLDS],
    )


def _row(
    threshold: float, found: dict[str, NDArray[np.float32]], unrelated: NDArray[np.float32]
) -> list[str]:
    shares = [f"{np.mean(cosines >= threshold):.1%}" for cosines in found.values()]
    false = f"{1000 * np.mean(unrelated >= threshold):.3f}"
    return [f"{threshold:g}{' (default)' if threshold == THRESHOLD else ''}", *shares, false]


def _image(row: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(row["content"])).convert("RGB")


if __name__ == "__main__":
    main()
