"""Plots of a classifier's answers, as small WebP files. Nothing is read here."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from spark_src.images.preprocess import upright

_SIDE, _GAP, _LINE = 100, 4, 13
"""Of a sheet of labels: thumbnails, the space between them, lines of text; in pixels."""
_CHARACTERS = 19
"""Of a line under a thumbnail."""


def confusions(
    pairs: Sequence[tuple[str, str, int]], per_class: Sequence[tuple[str, float]]
) -> bytes:
    """The pairs of labels that are confused most, beside the labels that are told worst.

    Args:
        pairs: given label, label that was told, how often; the worst first.
        per_class: label and the share told right, the worst first.
    """
    rows = max(len(pairs), len(per_class), 1)
    figure = Figure(figsize=(11, 1.2 + 0.32 * rows), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"{given} → {told}" for given, told, _ in pairs]
    left.barh(names, [count for *_, count in pairs], color="tab:red", alpha=0.7)
    left.set(xlabel="images", title="held-out images under the wrong label")
    right.barh([name for name, _ in per_class], [share for _, share in per_class], alpha=0.7)
    right.set(xlabel="share told right", xlim=(0, 1), title="labels that are told worst")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=8)
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="webp", dpi=100, pil_kwargs={"quality": 80})
    return content.getvalue()


def labelled_sheet(pictures: Sequence[tuple[str, str, bytes, int]], columns: int = 10) -> bytes:
    """Thumbnails in rows, each over its label and the one that is suggested.

    Args:
        pictures: label, suggested label, the file's bytes and the EXIF orientation of each.
        columns: thumbnails in a row.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = _SIDE + 2 * _GAP, _SIDE + 3 * _LINE
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for place, (label, suggested, content, orientation) in enumerate(pictures):
        left, top = place % columns * width + _GAP, place // columns * height
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
            picture.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = upright(picture, orientation)
        small.thumbnail((_SIDE, _SIDE))
        sheet.paste(small, (left + (_SIDE - small.width) // 2, top))
        draw.text((left, top + _SIDE), label[:_CHARACTERS], "black", font)
        draw.text((left, top + _SIDE + _LINE), f"→ {suggested}"[:_CHARACTERS], "firebrick", font)
    content = io.BytesIO()
    sheet.save(content, "WEBP", quality=70)
    return content.getvalue()
