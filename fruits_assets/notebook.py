"""Display of pictures in `notebooks/`, both in a local Jupyter kernel and on a cluster (Livy)."""

from __future__ import annotations

import base64
import io
import sys
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fruits_assets.materialization import preview
from fruits_assets.previews import Gallery
from spark_src.errors import FruitsError, SettingsError
from spark_src.tables.delta import Snapshot


class Picture:
    """A picture for Livy's `%matplot`, which expects a Matplotlib figure and saves it as PNG.

    Args:
        content: a file in any format that Pillow reads.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32]) -> Picture:
        """A picture from the model's input: shape (side, side, 3), values in [-1, 1]."""
        image = Image.fromarray(np.rint((pixels + 1) * 127.5).astype(np.uint8))
        file = io.BytesIO()
        image.save(file, "PNG")
        return cls(file.getvalue())

    def gcf(self) -> Picture:
        """This object, because Livy calls `gcf()` as on `matplotlib.pyplot`."""
        return self

    def savefig(self, file: IO[bytes], format: str) -> None:  # noqa: A002 - as Livy calls it
        """Write the picture."""
        with Image.open(io.BytesIO(self._content)) as image:
            image.save(file, format)


class NotDrawn:
    """Placeholder for a picture until a cell draws it. Sparkmagic continues after failed cells.

    Args:
        name: the variable that will hold the picture.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def gcf(self) -> Picture:
        """Raise an error that names the cell, where Livy would raise `KeyError`.

        Raises:
            FruitsError: always.
        """
        raise FruitsError(
            f"There is no picture `{self._name}`: the cell that draws it, or one above it, failed "
            "or was not run. Fix the first error above and run the cells again."
        )


def register_matplot() -> None:
    """Register the line magic `%matplot name` in a local Jupyter kernel; Livy has it built in."""
    ipython = sys.modules.get("IPython")  # a cluster has none
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        shell.register_magic_function(partial(_matplot, shell), "line", "matplot")


def _matplot(shell: Any, name: str) -> None:
    from IPython import display

    file = io.BytesIO()
    shell.user_ns[name].gcf().savefig(file, format="png")
    untyped: Any = display  # IPython has no type annotations here
    untyped.display(untyped.Image(file.getvalue()))


def preview_picture(gallery: Gallery, snapshot: Snapshot, name: str) -> Picture:
    """A picture of an asset's preview in Dagster's UI; if there is none, a text that says so."""
    shown = getattr(preview(gallery, snapshot).get(name), "value", "")
    _, found, data = str(shown).partition("base64,")
    if found:
        return Picture(base64.b64decode(data.removesuffix(")")))
    image, file = Image.new("RGB", (300, 30), "white"), io.BytesIO()
    ImageDraw.Draw(image).text((8, 8), f"{snapshot.asset}: no {name} to show", "black")
    image.save(file, "PNG")
    return Picture(file.getvalue())


def pictures_to_show(gallery: Gallery, images: Snapshot) -> list[dict[str, Any]]:
    """A sample of the pictures, as rows, without personal photos.

    Raises:
        SettingsError: all of them may be personal photos.
    """
    rows = gallery.pictures(images)
    if rows:
        return rows
    raise SettingsError(
        "Every picture in raw_images may be a person's photo, and a notebook saves its outputs. "
        "Set FRUITS_SHOW_PHOTOS=true to show them, and delete the outputs afterwards."
    )
