"""Plots of a classifier's answers, as small WebP files. Nothing is read here."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


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
