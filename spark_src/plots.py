"""Plots and thumbnail sheets as small WebP files. Reads no files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spark_src.images.preprocess import upright
from spark_src.text import counted

SIDE = 72
"""Side of a thumbnail, in pixels."""

_CAPTION = 12
"""Height of a line of a caption, in pixels."""
_GAP = 4
_QUALITIES = (75, 50, 25, 5)
_MAX_BYTES = 180_000
"""Maximum bytes of a sheet: about 240,000 in base64."""
_CHARACTERS = 13
"""Maximum characters of a line of a caption under a thumbnail."""

_CAPTIONED, _MARGIN, _LINE = 100, 6, 13
"""Captioned sheets: side of a thumbnail, margin and line height, in pixels."""
_LINE_CHARACTERS = 40
"""Maximum characters of a line under a thumbnail."""


def contact_sheet(pictures: Sequence[tuple[str, bytes, int]], columns: int = 12) -> bytes:
    """Thumbnails in rows, each with a caption below.

    Args:
        pictures: caption, file content and EXIF orientation of each.
        columns: thumbnails per row.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    captions = [_wrapped(caption) for caption, *_ in pictures]
    lines = max(caption.count("\n") + 1 for caption in captions)
    width, height = SIDE + _GAP, SIDE + lines * _CAPTION + 2 * _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for index, (_, content, orientation) in enumerate(pictures):
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        small = _thumbnail(content, orientation)
        sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        draw.multiline_text(
            (left + SIDE // 2, top + SIDE + 1),
            captions[index],
            "black",
            font,
            anchor="ma",
            spacing=1,
            align="center",
        )
    return _bounded_webp(sheet)


def histogram(values: NDArray[np.float32]) -> bytes:
    """Histogram of feature values. The zeros from ReLU are only counted."""
    zeros = float((values == 0).mean())
    figure, [axes] = _with_axes(7, 3)
    axes.hist(values[values > 0], bins=60, color="tab:blue")
    axes.set(
        yscale="log",
        xlabel="feature value",
        ylabel="count",
        title=f"{values.size:,} features, {zeros:.0%} zeros (not shown)",
    )
    return _webp(figure)


def throughput(edges: NDArray[np.float64], rates: NDArray[np.float64], images: int) -> bytes:
    """Pictures per second over a run, with the mean.

    Args:
        edges: (n + 1,), interval boundaries in seconds since the start.
        rates: (n,), pictures per second in each interval.
        images: number of pictures.
    """
    seconds = edges[-1]
    figure, [axes] = _with_axes(7, 2.6)
    axes.stairs(rates, edges, fill=True, color="tab:blue", alpha=0.6)
    axes.axhline(images / seconds, color="tab:orange", linewidth=1)
    axes.set(
        xlabel="seconds since the start",
        ylabel="pictures per second",
        xlim=(0, seconds),
        ylim=(0, None),
        title=f"{counted(images, 'picture')} in {seconds:,.1f} s: "
        f"{images / seconds:,.1f} per second",
    )
    return _webp(figure)


def scree(
    ratios: NDArray[np.float64], n_components: int, needed: int | None, share: float
) -> bytes:
    """Explained variance per component, and cumulative.

    Args:
        ratios: (1280,), explained variance ratio of every component.
        n_components: number of components kept.
        needed: number of components that reach the share, or None.
        share: share of the variance, 0 to 1.
    """
    shown = min(len(ratios), max(2 * n_components, (needed or 0) * 5 // 4, 10))
    numbers = np.arange(1, shown + 1)
    summed = np.cumsum(ratios)
    figure, [left, right] = _with_axes(9, 3.2, columns=2)
    left.plot(numbers, ratios[:shown], marker=".", markersize=3)
    left.axvline(n_components, color="tab:orange", label=f"{n_components} kept")
    left.set(yscale="log", xlabel="component", ylabel="explained variance", title="per component")
    right.plot(numbers, summed[:shown])
    kept = summed[n_components - 1]
    right.axvline(n_components, color="tab:orange", label=f"{n_components} kept: {kept:.1%}")
    if needed:
        right.axvline(
            needed, color="tab:green", linestyle="--", label=f"{needed} reach {share:.0%}"
        )
    right.axhline(share, color="grey", linewidth=0.7, linestyle=":")
    right.set(xlabel="components", ylim=(0, 1.02), title="cumulative")
    left.legend()
    right.legend(loc="lower right")
    return _webp(figure)


def label_map(points: NDArray[np.float32], labels: Sequence[str]) -> bytes:
    """Scatter plot of the first two components. Labels are drawn unless they would overlap.

    Args:
        points: (n, 2).
        labels: n names. Colours follow their alphabetical order.
    """
    names, index, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    colours = colormaps["gist_rainbow"](np.linspace(0, 1, len(names)))
    figure, [axes] = _with_axes(8, 6)
    axes.scatter(points[:, 0], points[:, 1], c=colours[index], s=9, alpha=0.6, linewidths=0)
    axes.set(
        xlabel="component 1",
        ylabel="component 2",
        title=f"{counted(len(points), 'picture')}, {counted(len(names), 'label')}",
    )
    axes.autoscale_view()  # so that texts can be measured before the figure is drawn
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    taken: list[Any] = []
    for label in np.argsort(-counts, kind="stable"):
        x, y = np.median(points[index == label], axis=0)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": colours[label], "pad": 1.5}
        name = names[label] or "(none)"
        text = axes.text(x, y, name, fontsize=7, ha="center", va="center", bbox=box)
        extent = text.get_window_extent(renderer).padded(3)
        if extent.count_overlaps(taken):
            text.remove()
        else:
            taken.append(extent)
    return _webp(figure)


def confusions(
    pairs: Sequence[tuple[str, str, int]], per_class: Sequence[tuple[str, float]]
) -> bytes:
    """The most frequently confused pairs of labels, and the labels with the lowest accuracy.

    Args:
        pairs: given label, predicted label and count, most frequent first.
        per_class: label and accuracy, lowest first.
    """
    rows = max(len(pairs), len(per_class), 1)
    figure = Figure(figsize=(11, 1.2 + 0.32 * rows), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"{given} → {predicted}" for given, predicted, _ in pairs]
    left.barh(names, [count for *_, count in pairs], color="tab:red", alpha=0.7)
    left.set(xlabel="images", title="misclassified held-out images")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.barh([name for name, _ in per_class], [share for _, share in per_class], alpha=0.7)
    right.set(xlabel="accuracy", xlim=(0, 1), title="labels with the lowest accuracy")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=8)
    return _webp(figure)


@dataclass(frozen=True)
class Captioned:
    """A thumbnail with two lines below it."""

    content: bytes
    orientation: int
    captions: tuple[str, str]
    framed: bool = False
    """Whether a frame marks it."""


def captioned_sheet(pictures: Sequence[Captioned], columns: int = 10) -> bytes:
    """Thumbnails in rows, as wide as the longest caption.

    Args:
        pictures: in reading order.
        columns: thumbnails per row.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    font = ImageFont.load_default(10)
    lines = [[text[:_LINE_CHARACTERS] for text in picture.captions] for picture in pictures]
    widest = max(font.getlength(text) for texts in lines for text in texts)
    width = max(_CAPTIONED, int(widest) + 1) + 2 * _MARGIN
    height = _CAPTIONED + 2 * _MARGIN + 3 * _LINE
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        left, top = index % columns * width + _MARGIN, index // columns * height + _MARGIN
        small = _thumbnail(picture.content, picture.orientation, _CAPTIONED)
        sheet.paste(small, (left, top))
        if picture.framed:
            draw.rectangle(
                (left - 3, top - 3, left + small.width + 2, top + small.height + 2),
                outline="firebrick",
                width=2,
            )
        for line, colour in enumerate(("black", "firebrick")):
            below = top + _CAPTIONED + line * _LINE
            draw.text((left, below + 2), lines[index][line], colour, font)
    return _bounded_webp(sheet)


def _wrapped(caption: str) -> str:
    """At most two lines, the second shortened in its middle: varieties differ in their last number.

    >>> _wrapped("Physalis with Husk 1").splitlines()
    ['Physalis with', 'Husk 1']
    """
    first, *others = textwrap.wrap(caption, _CHARACTERS) or [caption]
    second, half = " ".join(others), _CHARACTERS // 2
    if len(second) > _CHARACTERS:
        second = f"{second[:half]}…{second[1 - half :]}"
    return f"{first}\n{second}" if second else first


def _thumbnail(content: bytes, orientation: int, side: int = SIDE) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
        picture.draft("RGB", (2 * side, 2 * side))
        small = upright(picture, orientation)
    small.thumbnail((side, side))
    return small


def _bounded_webp(sheet: Image.Image) -> bytes:
    """Encode in the best quality within the size limit."""
    for quality in _QUALITIES:
        content = io.BytesIO()
        sheet.save(content, "WEBP", quality=quality)
        if content.tell() <= _MAX_BYTES:
            break
    return content.getvalue()


def _with_axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side and fixed margins, in inches.

    matplotlib's layout engines would take as long as drawing: they measure each tick's label.
    """
    left, right, bottom, top = 0.75, 0.3, 0.5, 0.35
    figure = Figure(figsize=(width, height))
    share = (width + left - right) / columns
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, left / (share - left)
    )
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _webp(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="webp", dpi=100, pil_kwargs={"quality": 80})
    return content.getvalue()
