"""Renders search results as one HTML page with embedded thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import pandas as pd
from PIL import Image

from spark_src.images.preprocess import upright

SIDE = 128
"""Side of a thumbnail, in pixels."""

_STYLE = """
body { font: 14px sans-serif; margin: 2em; }
section { display: flex; flex-wrap: wrap; gap: 8px; margin-bottom: 2em; }
figure { margin: 0; width: 140px; }
figure img { display: block; max-width: 128px; }
figure.query { border-right: 2px solid #888; margin-right: 8px; }
figcaption { overflow-wrap: anywhere; font-size: 11px; }
"""


def page(
    queries: Mapping[str, tuple[bytes, int]],
    found: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, tuple[bytes, int]],
) -> str:
    """Render the page.

    Args:
        queries: name -> content and orientation of each query picture.
        found: name -> nearest images: path, label, distance.
        pictures: path -> content and orientation of the images found.
    """
    sections = [
        f"<section>{_figure(name, [], *queries[name], 'query')}"
        + "".join(_match(row, pictures) for row in rows.to_dict("records"))
        + "</section>"
        for name, rows in found.items()
    ]
    head = f'<meta charset="utf-8"><title>Nearest images</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(sections)}</body></html>"


def _match(row: Mapping[str, object], pictures: Mapping[str, tuple[bytes, int]]) -> str:
    path = str(row["path"])
    content, orientation = pictures.get(path, (b"", 1))
    lines = [str(row["label"] or "(none)"), f"distance {row['distance']:.3f}"]
    return _figure(path, lines, content, orientation, "found")


def _figure(name: str, lines: list[str], content: bytes, orientation: int, kind: str) -> str:
    caption = "<br>".join(escape(line) for line in [*lines, name])
    image = f'<img alt="{escape(name)}" src="{_data(content, orientation)}">' if content else ""
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>'


def _data(content: bytes, orientation: int) -> str:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = upright(picture, orientation)
    small.thumbnail((SIDE, SIDE))
    target = io.BytesIO()
    small.save(target, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(target.getvalue()).decode()
