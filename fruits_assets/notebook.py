"""How `notebooks/` show pictures, the same in Jupyter's own kernel and in a cluster's (by Livy).

What is shown is computed and drawn elsewhere.
"""

from __future__ import annotations

import io
import sys
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fruits_assets.previews import Gallery
from spark_src.errors import FruitsError, SettingsError
from spark_src.tables.delta import Snapshot


class Picture:
    """A picture for `%matplot`, by which Livy asks a figure to save itself as PNG.

    Args:
        content: a picture's file, in any format that Pillow reads.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.float32]) -> Picture:
        """What the model is given: (side, side, 3), values in [-1, 1]."""
        image = Image.fromarray(np.rint((pixels + 1) * 127.5).astype(np.uint8))
        file = io.BytesIO()
        image.save(file, "PNG")
        return cls(file.getvalue())

    def gcf(self) -> Picture:
        """Itself: Livy takes what it is given for `matplotlib.pyplot`."""
        return self

    def savefig(self, file: IO[bytes], format: str) -> None:  # noqa: A002 - as Livy calls it
        """Write the picture."""
        with Image.open(io.BytesIO(self._content)) as image:
            image.save(file, format)


class NotDrawn:
    """Stands for a picture until a cell draws it. Sparkmagic goes on after a cell that failed.

    Args:
        name: the variable that will hold the picture.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def gcf(self) -> Picture:
        """Say which cell to look at, where Livy would say `KeyError`.

        Raises:
            FruitsError: always.
        """
        raise FruitsError(
            f"There is no picture `{self._name}`: the cell that draws it failed or was not run, "
            "or one above it. The first error above says why; fix that and run the cells again."
        )


def register_matplot() -> None:
    """Register the line magic `%matplot name` in Jupyter's own kernel; Livy has it built in."""
    ipython = sys.modules.get("IPython")  # a cluster has none
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        shell.register_magic_function(partial(_matplot, shell), "line", "matplot")


def _matplot(shell: Any, name: str) -> None:
    from IPython import display

    file = io.BytesIO()
    shell.user_ns[name].gcf().savefig(file, format="png")
    shown: Any = display  # without types of its own
    shown.display(shown.Image(file.getvalue()))


def pictures_to_show(gallery: Gallery, images: Snapshot) -> list[dict[str, Any]]:
    """Some of the pictures, as rows; a notebook keeps what it shows.

    Raises:
        SettingsError: all of them may be a person's.
    """
    rows = gallery.pictures(images)
    if rows:
        return rows
    raise SettingsError(
        "Every picture in raw_images may be a person's photo, and a notebook keeps what it shows. "
        "Set FRUITS_SHOW_PHOTOS=true to show them, and delete the notebook's outputs afterwards."
    )
